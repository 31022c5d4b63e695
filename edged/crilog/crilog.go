// Package crilog reads the log files that container runtimes write: for each
// line the time, the stream, a tag that marks partial lines ("P") and whole
// ones ("F"), and the text.
//
//	2026-01-02T03:04:05.678901234Z stdout F hello
//
// The format is that of the container runtime interface.
package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// Line is one entry of a log file.
type Line struct {
	Time    time.Time
	Stream  string // "stdout" or "stderr"
	Partial bool   // the next entry of the stream continues the line
	Text    []byte // without the newline; shares memory with what was parsed
}

// ErrFormat is returned for text that is no log entry.
var ErrFormat = errors.New("crilog: not a log entry")

// Parse reads one entry, with or without its newline.
func Parse(entry []byte) (Line, error) {
	entry = bytes.TrimSuffix(entry, []byte("\n"))
	stamp, rest, ok1 := bytes.Cut(entry, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tags, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !ok3 && len(tags) == 0 {
		return Line{}, ErrFormat
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, ErrFormat
	}
	if s := string(stream); s != "stdout" && s != "stderr" {
		return Line{}, ErrFormat
	}
	first, _, _ := bytes.Cut(tags, []byte(":")) // further tags are reserved
	return Line{Time: at, Stream: string(stream), Partial: string(first) == "P", Text: text}, nil
}

// Tail reads the last lines of a log file, both streams in order, at most so
// many lines and bytes. What is no log entry is left out.
func Tail(path string, lines, size int) (string, error) {
	f, err := open(path)
	if err != nil {
		return "", fmt.Errorf("crilog: %w", err)
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("crilog: %w", err)
	}
	// An entry has some 45 bytes before its text.
	want := int64(size + 64*(lines+1))
	from := max(end-want, 0)
	raw := make([]byte, end-from)
	if _, err := f.ReadAt(raw, from); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("crilog: %w", err)
	}
	var out []byte
	for entry := range bytes.Lines(raw) {
		l, err := Parse(entry)
		if err != nil {
			continue
		}
		out = append(out, l.Text...)
		if !l.Partial {
			out = append(out, '\n')
		}
	}
	for n, i := 0, len(out)-1; i >= 0; i-- {
		if out[i] == '\n' && i < len(out)-1 {
			if n++; n >= lines {
				out = out[i+1:]
				break
			}
		}
	}
	if len(out) > size {
		out = out[len(out)-size:]
	}
	return string(bytes.ToValidUTF8(out, []byte("\uFFFD"))), nil
}
