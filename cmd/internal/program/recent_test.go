package program

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestRecent: the newest lines are kept in a bounded room, and warnings and errors longer.
func TestRecent(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var r Recent
		log := Log{Format: format}.Logger(&r)
		log.Error("the first", "level", "x")
		for i := range 3000 {
			log.Info("a line that is no problem", "i", i, "text", "level=ERROR ")
		}
		log.Warn("the last", "text", strings.Repeat("x", 1<<20))
		problems, lines := r.Problems(), r.Lines()
		if len(problems) != 2 || !strings.Contains(problems[0], "the first") || !strings.Contains(problems[1], "the last") {
			t.Errorf("%s: problems %.300q", format, problems)
		}
		size := 0
		for _, l := range lines {
			size += len(l) + 1
		}
		if size > recentBytes || size < recentBytes/2 || len(lines[len(lines)-1]) != recentLine {
			t.Errorf("%s: %d bytes in %d lines", format, size, len(lines))
		}
		for i := range 100 {
			log.Log(t.Context(), slog.LevelError, fmt.Sprint("error ", i))
		}
		if problems = r.Problems(); len(problems) != recentProblems || !strings.Contains(problems[0], "error 80") {
			t.Errorf("%s: %d problems, first %s", format, len(problems), problems[0])
		}
	}
}
