package crilog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/edged/crilog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestCopy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	write(t, file, strings.Join([]string{
		"2026-01-02T03:04:05Z stdout F one", "2026-01-02T03:04:06.5Z stderr F two", "rubbish",
		"2026-01-02T03:04:07Z stdout P thr", "2026-01-02T03:04:08Z stdout F ee", "2026-01-02T03:04:09Z stdout F ", "2026-01-02T03:04:09Z stdout F not yet wh",
	}, "\n"))
	n := func(i int64) *int64 { return &i }
	for _, c := range []struct {
		name string
		o    crilog.Options
		want string
	}{
		{"all", crilog.Options{}, "one\ntwo\nthree\n\n"},
		{"stderr", crilog.Options{Stream: "stderr"}, "two\n"},
		{"since", crilog.Options{Since: time.Date(2026, 1, 2, 3, 4, 7, 0, time.UTC)}, "three\n\n"},
		{"times", crilog.Options{Timestamps: true, Limit: n(37)}, "2026-01-02T03:04:05.000000000Z one\n20"},
		{"times of parts", crilog.Options{Timestamps: true, Tail: n(4)}, "2026-01-02T03:04:07.000000000Z three\n2026-01-02T03:04:09.000000000Z \n"},
		{"tail", crilog.Options{Tail: n(3)}, "ee\n\n"},
		{"tail of nothing", crilog.Options{Tail: n(0)}, ""},
		{"tail of more", crilog.Options{Tail: n(100)}, "one\ntwo\nthree\n\n"},
		{"limit", crilog.Options{Limit: n(5)}, "one\nt"},
		{"no bytes", crilog.Options{Limit: n(0)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := crilog.Copy(t.Context(), file, c.o, &out); err != nil || out.String() != c.want {
				t.Errorf("%q, %v; want %q", out.String(), err, c.want)
			}
		})
	}
	if err := crilog.Copy(t.Context(), file+"x", crilog.Options{}, &bytes.Buffer{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestTailOfALongFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "2026-01-02T03:04:05Z stdout F line %d\n", i)
	}
	write(t, file, text.String())
	for _, n := range []int64{1, 10, 999, 4999, 5000} {
		var out bytes.Buffer
		if err := crilog.Copy(t.Context(), file, crilog.Options{Tail: &n}, &out); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); int64(got) != n || !strings.HasPrefix(out.String(), fmt.Sprintf("line %d\n", 5000-n)) {
			t.Errorf("tail %d gave %d lines, beginning %.20q", n, got, out.String())
		}
	}
}

// script is a Follower that changes the file each time it is asked to wait.
type script struct {
	steps []func()
	more  bool // after the last step
}

func (s *script) Wait(ctx context.Context) (bool, error) {
	if len(s.steps) == 0 {
		return s.more, ctx.Err()
	}
	s.steps[0]()
	s.steps = s.steps[1:]
	return len(s.steps) > 0 || s.more, ctx.Err()
}

// TestFollow follows a file through half-written entries and a rotation.
func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	write(t, file, "2026-01-02T03:04:05Z stdout F one\n2026-01-02T03:04:05Z std")
	s := &script{steps: []func(){
		func() { write(t, file, "out F two\n") },
		func() {
			write(t, file, "2026-01-02T03:04:05Z stdout F three\n")
			if err := os.Rename(file, file+".old"); err != nil {
				t.Fatal(err)
			}
		},
		func() {
			write(t, file+".old", "2026-01-02T03:04:05Z stdout F four\n")
			write(t, file, "2026-01-02T03:04:05Z stdout F five\n")
		},
		func() { write(t, file, "2026-01-02T03:04:05Z stdout F six\n") },
	}}
	var out bytes.Buffer
	if err := crilog.Copy(t.Context(), file, crilog.Options{Follow: s}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "one\ntwo\nthree\nfour\nfive\nsix\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	write(t, file, "")
	ctx, cancel := context.WithCancel(t.Context())
	err := crilog.Copy(ctx, file, crilog.Options{Follow: &script{steps: []func(){cancel}, more: true}}, &bytes.Buffer{})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWatcher(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	w := crilog.NewWatcher()
	early, stopEarly := w.Watch(file)
	defer stopEarly()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	late, stopLate := w.Watch(file)
	for range 3 {
		write(t, file, "x")
		if !isNotified(t, w, file, early) || !isNotified(t, w, file, late) {
			t.Skip("this system does not tell of changes")
		}
	}
	stopLate()
	stopLate()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// isNotified waits for a change, and writes again and again in case that the Watcher did
// not run yet.
func isNotified(t *testing.T, _ *crilog.Watcher, file string, c <-chan struct{}) bool {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 6000 {
		select {
		case <-c:
			return true
		case <-tick.C:
			write(t, file, "x")
		}
	}
	return false
}

func FuzzCopy(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05Z stdout F text\n2026-01-02T03:04:05Z stderr P x"), int64(1), int64(3))
	f.Add([]byte("\n\n\n"), int64(2), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, tail, limit int64) {
		file := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		limit = max(limit, 0)
		var out bytes.Buffer
		if err := crilog.Copy(t.Context(), file, crilog.Options{Tail: &tail, Limit: &limit, Timestamps: true}, &out); err != nil {
			t.Fatal(err)
		}
		if int64(out.Len()) > limit {
			t.Errorf("%d bytes where %d are allowed", out.Len(), limit)
		}
	})
}
