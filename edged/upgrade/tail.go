package upgrade

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
)

// The log of a trial: two files, so that each write is an append and the end is always there.
const (
	tailFile  = "trial.log"
	tailOlder = "trial.log.1"

	// MaxLog is the largest size of the log that Log returns.
	MaxLog = 64 << 10
)

// tail keeps the end of the log of a trial in files. It writes them as the log comes and does not
// sync: a crash of the program loses nothing, a power cut the last seconds.
type tail struct {
	dir string

	mu   sync.Mutex
	file *os.File // nil: it could not be made
	size int
}

// openTail starts the log of a trial. The runtime writes there too when the program crashes. A
// log that cannot be written is none: it must not end a trial.
func openTail(dir string) *tail {
	t := &tail{dir: dir}
	_ = os.Remove(filepath.Join(dir, tailOlder)) // of the trial before
	t.open()
	return t
}

func (t *tail) open() {
	f, err := os.OpenFile(filepath.Join(t.dir, tailFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		t.file = nil
		return
	}
	t.file, t.size = f, 0
	_ = debug.SetCrashOutput(f, debug.CrashOptions{}) // without it the log ends at the crash
}

// Write never fails: the log of a trial is less than the log of the program.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return len(b), nil
	}
	if t.size+len(b) > MaxLog && t.size > 0 {
		t.file.Close()
		_ = os.Rename(filepath.Join(t.dir, tailFile), filepath.Join(t.dir, tailOlder))
		t.open()
	}
	if t.file != nil {
		n, _ := t.file.Write(b[:min(len(b), MaxLog)])
		t.size += n
	}
	return len(b), nil
}

// close ends the log: the trial is over.
func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
		t.file.Close()
		t.file = nil
	}
}

// Log returns a writer for the program's log. On trial it also keeps the end of the log, for
// the program that runs if the trial fails; else it is w.
func (s Start) Log(w io.Writer) io.Writer {
	if s.tail == nil {
		return w
	}
	return io.MultiWriter(s.tail, w)
}

// readTail returns the end of the log of the latest trial, at most MaxLog bytes.
func readTail(dir string) (string, error) {
	var text []byte
	var errs error
	for _, name := range []string{tailOlder, tailFile} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		part, err := io.ReadAll(io.LimitReader(f, 4*MaxLog)) // a crash may have written more
		errs = errors.Join(errs, err, f.Close())
		text = append(text, part...)
	}
	return string(text[max(0, len(text)-MaxLog):]), errs
}
