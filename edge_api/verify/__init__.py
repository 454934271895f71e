"""Is a project's database still what the migrations make? `edge-api verify` asks its catalogs, and changes nothing."""
