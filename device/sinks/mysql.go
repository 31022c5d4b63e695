package sinks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// MySQL is the Opener of push.MethodMySQL, which MariaDB serves too. A property has a table of its own,
// NAMESPACE/DEVICE/PROPERTY, with the columns id, ts (UTC) and field (text), as mappers of KubeEdge
// make it; a table that is there is used as it is. The name has at most 64 characters. The secrets
// are "username", if the Device names none, and "password".
func MySQL(target schema.PushMethod, secret push.Secret) (push.Sink, error) {
	c := target.DB.MySQL.Client
	if c == nil || c.Addr == "" || c.Database == "" {
		return nil, errors.New("device/sinks: dbMethod.mysql.mysqlClientConfig: addr and database are required: HOST:3306 and the name of the database")
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.DBName, cfg.User, cfg.Passwd = "tcp", c.Addr, c.Database, c.UserName, secret(push.MethodMySQL, "password")
	if strings.HasPrefix(c.Addr, "/") {
		cfg.Net = "unix"
	}
	if cfg.User == "" {
		cfg.User = secret(push.MethodMySQL, "username")
	}
	cfg.InterpolateParams = true
	cfg.Logger = log.New(io.Discard, "", 0) // errors are returned as well
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("device/sinks: dbMethod.mysql.mysqlClientConfig: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1) // one goroutine writes
	return &mysqlSink{db: db, tables: make(map[string]bool)}, nil
}

type mysqlSink struct {
	db     *sql.DB
	tables map[string]bool // that are known to be there
}

// Write inserts readings in one transaction.
func (s *mysqlSink) Write(ctx context.Context, readings []push.Reading) (int, error) {
	var refused error // of the reading after readings
	for i, r := range readings {
		if err := s.create(ctx, table(r)); err != nil {
			if i == 0 || !errors.Is(err, push.ErrRefused) {
				return 0, err
			}
			readings, refused = readings[:i], err // those before it first
			break
		}
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, mysqlError(err)
	}
	for i, r := range readings {
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+table(r)+" (ts, field) VALUES (?, ?)", r.At(), r.Value); err != nil {
			delete(s.tables, table(r)) // it may be gone
			if i > 0 && errors.Is(mysqlError(err), push.ErrRefused) {
				if err := tx.Commit(); err != nil {
					return 0, mysqlError(err)
				}
				return i, mysqlError(err)
			}
			return 0, errors.Join(mysqlError(err), tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, mysqlError(err)
	}
	return len(readings), refused
}

// table is the quoted name of the table of a property.
func table(r push.Reading) string {
	return "`" + strings.ReplaceAll(r.Device+"/"+r.Property, "`", "``") + "`"
}

func (s *mysqlSink) create(ctx context.Context, table string) error {
	if s.tables[table] {
		return nil
	}
	if len(s.tables) > 10_000 {
		clear(s.tables)
	}
	_, err := s.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (id INT AUTO_INCREMENT PRIMARY KEY, ts DATETIME(3) NOT NULL, field TEXT)")
	if err != nil {
		return mysqlError(err)
	}
	s.tables[table] = true
	return nil
}

// mysqlError marks the errors that are about a reading itself.
func mysqlError(err error) error {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		switch e.Number {
		case 1059, 1103, 1264, 1292, 1366, 1406: // name too long or wrong, value out of range or wrong, too long
			return fmt.Errorf("%w: mysql: %w", push.ErrRefused, err)
		}
	}
	return fmt.Errorf("device/sinks: mysql: %w", err)
}

func (s *mysqlSink) Close() error { return s.db.Close() }
