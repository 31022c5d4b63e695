package program

import (
	"io"
	"log/slog"
)

// Log holds the flags that set up logging.
type Log struct {
	Level  slog.Level `help:"Lowest level that is logged: debug, info, warn or error." default:"info"`
	Format string     `help:"Form of the log lines: text or json." enum:"text,json" default:"text"`
}

// Logger makes the logger that the flags ask for.
func (l Log) Logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
