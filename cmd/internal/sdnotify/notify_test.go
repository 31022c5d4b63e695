package sdnotify

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReporter: ready once healthy, fed while healthy and no longer, stopping at the end.
func TestReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		after := func(d time.Duration) bool { return time.Since(start) >= d }
		type report struct {
			at    time.Duration
			state string
		}
		var mu sync.Mutex
		var sent []report
		r := New(Config{
			watchdog: 30 * time.Second,
			send: func(state string) error {
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, report{time.Since(start).Round(time.Second), state})
				return errors.New("only logged")
			},
			Healthy: func(context.Context) error {
				if !after(5*time.Second) || after(40*time.Second) && !after(60*time.Second) {
					return errors.New("sick")
				}
				return nil
			},
			Status: func(ctx context.Context, set func(string)) {
				set("no link\nWATCHDOG=trigger")
				<-ctx.Done()
			},
		})
		ctx, cancel := context.WithTimeout(t.Context(), 80*time.Second)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
		var states []string
		for _, s := range sent {
			states = append(states, s.state)
			if sick := s.at >= 40*time.Second && s.at < 60*time.Second; sick && s.state == "WATCHDOG=1" {
				t.Error("fed at", s.at)
			}
		}
		if sent[0].state != "READY=1" || sent[0].at < 5*time.Second || !slices.Contains(states, "STATUS=no link WATCHDOG=trigger") ||
			states[len(states)-1] != "STOPPING=1" || !slices.Contains(states, "WATCHDOG=1") {
			t.Error(sent)
		}
	})
}

// TestReporterEndsBeforeItIsReady: a program that is stopped while it starts reports nothing.
func TestReporterEndsBeforeItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{
			Healthy: func(context.Context) error { return errors.New("not yet") },
			send:    func(state string) error { t.Error(state); return nil },
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestReporterContinues: a program that goes on in its process does not report that it stops, and
// gives the watchdog its interval back.
func TestReporterContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		r := New(Config{
			Healthy: func(context.Context) error { return nil }, Continues: func() bool { return true }, watchdog: 30 * time.Second,
			send: func(state string) error { sent = append(sent, state); return nil },
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := r.Run(ctx); err != nil || !slices.Equal(sent, []string{"READY=1", "WATCHDOG_USEC=30000000", "WATCHDOG=1"}) {
			t.Errorf("%q, %v", sent, err)
		}
	})
}

// TestReplaced: the program that replaces this one gets the time of a start; without a watchdog
// nothing is sent.
func TestReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for usec, want := range map[string]string{"": "", "180000000": "WATCHDOG=1\nWATCHDOG_USEC=900000000", "1800000000": "WATCHDOG=1\nWATCHDOG_USEC=1800000000"} {
		t.Setenv("WATCHDOG_USEC", usec)
		if err := Replaced(); err != nil {
			t.Error(err)
		}
		if want == "" {
			want = "STATUS=nothing else"
			Failed("nothing else")
		}
		got := make([]byte, 200)
		if n, err := l.Read(got); err != nil || string(got[:n]) != want {
			t.Errorf("%s: %q, %v", usec, got[:n], err)
		}
	}
}

// TestSocket: what is sent arrives at the socket that systemd names.
func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	Failed("edgecore: --mqtt-listen: bad\nREADY=1")
	got := make([]byte, 200)
	n, err := l.Read(got)
	if err != nil || string(got[:n]) != "STATUS=edgecore: --mqtt-listen: bad READY=1" {
		t.Errorf("%q, %v", got[:n], err)
	}
}
