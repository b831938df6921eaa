"""What two or more processes share: settings, sites, records, spool, tables, warehouse, worker, errors."""
