package printer

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// gap is how many spaces are between two columns, maxCell how many characters of a cell count
// for the width of its column: a long text does not push the other columns away.
const (
	gap     = 3
	maxCell = 60
)

// write prints the table. Only cells that are not the last of their row are padded.
func (t Table) write(out io.Writer, wide, noHeaders bool) error {
	now := t.Now
	if now.IsZero() {
		now = time.Now()
	}
	var lines [][]string
	var levels []Level
	var heads []string
	for _, c := range t.Columns {
		if wide || !c.Wide {
			heads = append(heads, cellText(c.Name, now))
		}
	}
	if !noHeaders {
		lines, levels = append(lines, heads), append(levels, LevelNone)
	}
	for _, r := range t.Rows {
		var cells []string
		for i, c := range t.Columns {
			if !wide && c.Wide {
				continue
			}
			var cell any
			if i < len(r.Cells) {
				cell = r.Cells[i]
			}
			cells = append(cells, cellText(cell, now))
		}
		lines, levels = append(lines, cells), append(levels, r.Level)
	}
	return writeLines(out, lines, levels, len(heads))
}

// writeLines aligns the cells of lines and marks lines on a terminal.
func writeLines(out io.Writer, lines [][]string, levels []Level, columns int) error {
	widths := make([]int, columns)
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], min(utf8.RuneCountInString(cell), maxCell))
		}
	}
	colour := colours(out)
	for n, cells := range lines {
		var line strings.Builder
		for i, cell := range cells {
			line.WriteString(cell)
			if i < len(cells)-1 {
				line.WriteString(strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(cell), 0)+gap))
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if colour {
			text = paint(text, levels[n])
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	return nil
}

// colours reports whether out is a terminal of somebody who wants colours; see https://no-color.org.
func colours(out io.Writer) bool {
	if o, ok := out.(program.Output); ok {
		out = o.Writer
	}
	f, ok := out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func paint(text string, level Level) string {
	switch level {
	case LevelWarning:
		return "\x1b[33m" + text + "\x1b[0m"
	case LevelError:
		return "\x1b[31m" + text + "\x1b[0m"
	}
	return text
}

// cellText is a cell on one line, without what steers a terminal.
func cellText(cell any, now time.Time) string {
	var text string
	switch c := cell.(type) {
	case nil:
	case time.Time:
		text = Age(c, now)
	case string:
		text = c
	default:
		text = fmt.Sprint(c)
	}
	if text = program.PlainText(strings.Join(strings.Fields(text), " ")); text == "" {
		return "-"
	}
	return text
}

// Age is how long ago t was, as Kubernetes prints it: 45s, 5m, 3d. A time to come is "in 29d", a
// zero one "".
func Age(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d <= -2*time.Second: // a clock that differs a little is no future
		return "in " + duration.HumanDuration(-d)
	default:
		return duration.HumanDuration(max(d, 0))
	}
}
