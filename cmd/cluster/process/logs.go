package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// Tail returns the last lines of a program's log, without the runs of NUL bytes
// that a crash of the machine leaves in files.
func (t *Table) Tail(name string, lines int) (string, error) {
	f, err := os.Open(t.LogFile(name))
	if err != nil {
		return "", fmt.Errorf("process: %w", err)
	}
	defer f.Close()
	const most = 64 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		if _, err := f.Seek(max(0, size-most), io.SeekStart); err != nil {
			return "", fmt.Errorf("process: %w", err)
		}
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("process: %w", err)
	}
	return lastLines(b, lines), nil
}

func lastLines(b []byte, lines int) string {
	text := strings.TrimSpace(string(bytes.ReplaceAll(b, []byte{0}, nil)))
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
