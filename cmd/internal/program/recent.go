package program

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// Limits of a Recent.
const (
	recentBytes    = 64 << 10 // of all lines
	recentLine     = 2 << 10  // of one line; the rest is cut off
	recentProblems = 20
)

// Recent keeps the end of a log in memory, at most 64 KiB, and the last 20 warnings and
// errors. It is an io.Writer that gets one line a Write, as slog's handlers write. The zero
// value is ready. Its methods may be called by several goroutines at once.
type Recent struct {
	mu       sync.Mutex
	lines    []string
	bytes    int
	problems []string
}

// Write keeps a line.
func (r *Recent) Write(line []byte) (int, error) {
	text := string(bytes.TrimRight(line[:min(len(line), recentLine)], "\n"))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, text)
	r.bytes += len(text) + 1
	drop := 0
	for ; r.bytes > recentBytes; drop++ {
		r.bytes -= len(r.lines[drop]) + 1
	}
	r.lines = slices.Delete(r.lines, 0, drop)
	if isProblem(text) {
		r.problems = append(r.problems, text)
		r.problems = slices.Delete(r.problems, 0, max(len(r.problems)-recentProblems, 0))
	}
	return len(line), nil
}

// isProblem reports whether a line of slog's text or JSON form is a warning or an error. The level
// comes after the time, before anything that others have written.
func isProblem(line string) bool {
	head := line[:min(len(line), 80)]
	for _, level := range []string{" level=WARN ", " level=ERROR ", `"level":"WARN"`, `"level":"ERROR"`} {
		if strings.Contains(head, level) {
			return true
		}
	}
	return false
}

// Lines are the last lines, oldest first.
func (r *Recent) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// Problems are the last warnings and errors, oldest first.
func (r *Recent) Problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.problems)
}
