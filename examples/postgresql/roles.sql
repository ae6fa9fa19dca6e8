-- A database with two roles: one that makes the tables, and one that serves and monitors and can change no table.
-- Run once as the server's administrator:   psql --file=roles.sql
\set ON_ERROR_STOP on
CREATE ROLE stillsafe_owner LOGIN;
CREATE ROLE stillsafe LOGIN;
CREATE DATABASE stillsafe OWNER stillsafe_owner;

\connect stillsafe
REVOKE ALL ON DATABASE stillsafe FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE stillsafe TO stillsafe;
GRANT USAGE ON SCHEMA public TO stillsafe;
GRANT USAGE, CREATE ON SCHEMA public TO stillsafe_owner;
ALTER DEFAULT PRIVILEGES FOR ROLE stillsafe_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO stillsafe;
ALTER DEFAULT PRIVILEGES FOR ROLE stillsafe_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO stillsafe;
