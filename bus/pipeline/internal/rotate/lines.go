package rotate

import (
	"bytes"
	"errors"
	"os"
)

// Lines is a file of lines that is only appended to. One goroutine calls its methods.
type Lines struct {
	file *os.File
	size int64
}

// OpenLines opens a file, which is made if it is not there, and cuts off a line that a power cut
// has left unfinished.
func OpenLines(root *os.Root, name string) (*Lines, error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Lines{file: f, size: size}, nil
}

// Size is the size of the file.
func (l *Lines) Size() int64 { return l.size }

// Append appends b, which ends with a line break, whole or not at all, and syncs it. After an
// error the file has to be opened anew.
func (l *Lines) Append(b []byte) error {
	_, err := l.file.Write(b)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(len(b))
	return nil
}

// Close closes the file.
func (l *Lines) Close() error { return l.file.Close() }

// wholeLines is the size of a file up to its last line break.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := info.Size()
	block := make([]byte, 64<<10)
	for end > 0 {
		b := block[:min(int64(len(block)), end)]
		if _, err := f.ReadAt(b, end-int64(len(b))); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return end - int64(len(b)) + int64(i) + 1, nil
		}
		end -= int64(len(b))
	}
	return 0, nil
}
