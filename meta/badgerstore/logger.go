package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// logger passes badger's log lines to slog. What badger logs as info is internal, so it is debug
// here.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, args ...any)   { l.at(slog.LevelError, format, args) }
func (l logger) Warningf(format string, args ...any) { l.at(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.at(slog.LevelDebug, format, args) }
func (l logger) Debugf(string, ...any)               {}

func (l logger) at(level slog.Level, format string, args []any) {
	ctx := context.Background() // badger's callbacks have no context
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "badger", "text", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
