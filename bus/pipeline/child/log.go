package child

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of what a program writes.
const (
	maxLine        = 8 << 10 // bytes of a line; the rest of it is dropped
	maxLines       = 100     // in a second
	maxAttributes  = 16
	reportInterval = time.Minute // how often dropped lines are reported
)

// copyLog logs what comes from r, line by line, until r ends.
func copyLog(ctx context.Context, log *slog.Logger, r io.Reader) {
	in := bufio.NewReaderSize(r, maxLine)
	limit := lineLimit{log: log}
	for {
		line, err := in.ReadSlice('\n')
		line = bytes.TrimRight(line, "\r\n")
		if len(line) > 0 && limit.take(time.Now()) {
			logLine(ctx, log, line)
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line
			_, err = in.ReadSlice('\n')
		}
		if err != nil {
			limit.report()
			return
		}
	}
}

// lineLimit drops lines of a program that writes too many.
type lineLimit struct {
	log      *slog.Logger
	second   time.Time // in which lines are counted
	lines    int
	dropped  int
	reported time.Time
}

func (l *lineLimit) take(now time.Time) bool {
	if now.Sub(l.second) >= time.Second {
		l.second, l.lines = now, 0
	}
	if l.dropped > 0 && now.Sub(l.reported) >= reportInterval {
		l.reported = now
		l.report()
	}
	if l.lines++; l.lines <= maxLines {
		return true
	}
	if l.dropped++; l.reported.IsZero() {
		l.reported = now
	}
	return false
}

func (l *lineLimit) report() {
	if l.dropped > 0 {
		l.log.Warn("the program wrote too many lines, and some were dropped", "lines", l.dropped)
	}
	l.dropped = 0
}

// logLine logs one line. What is no JSON of slog is a line that the runtime wrote, of a panic
// for example.
func logLine(ctx context.Context, log *slog.Logger, line []byte) {
	if line[0] != '{' {
		log.Warn("output of the program", "line", text(string(line)))
		return
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		log.Warn("output of the program", "line", text(string(line)))
		return
	}
	level, message := slog.LevelInfo, "output of the program"
	if s, ok := fields[slog.LevelKey].(string); ok {
		_ = level.UnmarshalText([]byte(s)) // it stays info
	}
	if s, ok := fields[slog.MessageKey].(string); ok {
		message = text(s)
	}
	var attrs []slog.Attr
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		v := fields[k]
		if k == slog.LevelKey || k == slog.MessageKey || k == slog.TimeKey || len(attrs) == maxAttributes {
			continue
		}
		if s, ok := v.(string); ok {
			v = text(s)
		}
		attrs = append(attrs, slog.Any(text(k), v))
	}
	log.LogAttrs(ctx, level, message, attrs...)
}

// text is s without control characters, which could forge lines or control a terminal.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
