package upgrade

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// node is what a trial looks at.
type node struct {
	linked bool
	pods   map[string]bool
	check  error
	fetch  func(to Destination) (Release, error)
	calls  int
}

func (n *node) Fetch(_ context.Context, r Request, to Destination) (Release, error) {
	n.calls++
	if n.fetch != nil {
		return n.fetch(to)
	}
	name := filepath.Join(to.Dir, Program)
	if err := os.WriteFile(name, []byte("program "+r.Version), 0o755); err != nil {
		return Release{}, err
	}
	digest, err := fileDigest(name)
	release := Release{Version: r.Version, Digest: digest, Size: int64(len("program " + r.Version)), StoreFormat: 2, StoreFormatsRead: []int{1, 2}}
	return release, errors.Join(err, to.Accept(release))
}

// upgrader makes an Upgrader of a process of this node.
func (n *node) upgrader(t *testing.T, dir string, s Start, version string) *Upgrader {
	t.Helper()
	u, err := New(Config{
		DataDir: dir, Start: s, Fetcher: n, Release: Release{Version: version, StoreFormat: 2, StoreFormatsRead: []int{1, 2}},
		Linked: func() bool { return n.linked }, Pods: func() map[string]bool { return maps.Clone(n.pods) }, Check: func() error { return n.check },
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// trial brings a node to the start of a trial of v2, and returns the process that is on trial.
func (n *node) trial(t *testing.T, dir string, h Health) *Upgrader {
	t.Helper()
	old := n.upgrader(t, dir, Start{}, "v1")
	slot, err := old.Download(t.Context(), Request{ID: "job", Source: "x", Version: "v2"})
	if err == nil {
		err = old.Switch(t.Context(), slot, h)
	}
	if err == nil {
		err = old.step(record.started)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n.upgrader(t, dir, Start{Slot: A, Trial: true}, "v2")
}

// TestGate: what commits a trial, what rolls it back, and when.
func TestGate(t *testing.T) {
	healthy := func() *node {
		return &node{linked: true, pods: map[string]bool{"a/web": true, "a/db": true, "a/job": false}}
	}
	for name, test := range map[string]struct {
		before func(*node)
		health Health
		after  func(*node)                // what the trial finds
		during func(*node, time.Duration) // called each second
		want   Phase
		at     time.Duration
		reason string
	}{
		"healthy at once":        {want: Committed, at: time.Minute},
		"healthy after a while":  {after: func(n *node) { n.linked = false }, during: func(n *node, d time.Duration) { n.linked = d >= 100*time.Second }, want: Committed, at: 160 * time.Second},
		"no link":                {after: func(n *node) { n.linked = false }, want: RolledBack, at: 5 * time.Minute, reason: "not healthy within 5m0s: there is no link to the cloud, and there was one before"},
		"no link before":         {before: func(n *node) { n.linked = false }, want: Committed, at: time.Minute},
		"link is not needed":     {health: Health{IgnoreLink: true}, after: func(n *node) { n.linked = false }, want: Committed, at: time.Minute},
		"a pod is not ready":     {after: func(n *node) { n.pods["a/db"] = false }, want: RolledBack, at: 5 * time.Minute, reason: "pods that were ready before are not: a/db"},
		"pods are not needed":    {health: Health{IgnorePods: true}, after: func(n *node) { n.pods["a/db"] = false }, want: Committed, at: time.Minute},
		"a pod is gone":          {after: func(n *node) { delete(n.pods, "a/db") }, want: Committed, at: time.Minute},
		"a pod was not ready":    {after: func(n *node) { n.pods["a/job"] = false }, want: Committed, at: time.Minute},
		"a check fails":          {after: func(n *node) { n.check = errors.New("the store takes no writes") }, want: RolledBack, at: 5 * time.Minute, reason: "the store takes no writes"},
		"flapping":               {during: func(n *node, d time.Duration) { n.linked = d%(29*time.Second) != 0 }, want: RolledBack, at: 5 * time.Minute, reason: "without a break"},
		"own times":              {health: Health{Timeout: 10 * time.Second, Stable: 3 * time.Second}, after: func(n *node) { n.linked = false }, want: RolledBack, at: 10500 * time.Millisecond, reason: "within 10s"},
		"stable until the limit": {health: Health{Timeout: time.Minute, Stable: time.Minute}, want: Committed, at: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, dir := healthy(), t.TempDir()
				if test.before != nil {
					test.before(n)
				}
				u := n.trial(t, dir, test.health)
				if test.after != nil {
					test.after(n)
				}
				begun := time.Now()
				u.cfg.Check = func() error {
					if test.during != nil {
						test.during(n, time.Since(begun))
					}
					return n.check
				}
				ctx, cancel := context.WithCancel(t.Context())
				var ended time.Duration
				go func() {
					for s := range u.Watch(ctx) {
						if s.Phase == Committed {
							ended = time.Since(begun)
							cancel()
						}
					}
				}()
				err := u.Run(ctx)
				if err != nil {
					ended = time.Since(begun)
				}
				cancel()
				synctest.Wait()
				if (test.want == RolledBack) != errors.Is(err, ErrRestart) || ended != test.at {
					t.Errorf("Run returned %v after %s, want %s after %s", err, ended, test.want, test.at)
				}
				s := n.upgrader(t, dir, Start{}, "v").State()
				if s.Phase != test.want || s.Outcome == nil || s.Outcome.ID != "job" || s.Outcome.From != "v1" || s.Outcome.To != "v2" || !strings.Contains(s.Outcome.Reason, test.reason) {
					t.Errorf("%s, %+v", s.Phase, s.Outcome)
				}
			})
		})
	}
}

// TestCleanStops: a trial that is stopped in order is tried again, MaxTries times, and then rolled
// back by Boot.
func TestCleanStops(t *testing.T) {
	n, dir := &node{}, t.TempDir()
	u := n.trial(t, dir, Health{})
	for try := 1; ; try++ {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := errors.Join(u.Run(ctx), u.Stopped(t.Context())); err != nil {
			t.Fatal(err)
		}
		s := u.State()
		if s.Phase != Trial || s.Tries != try {
			t.Fatalf("try %d: %+v", try, s)
		}
		r, err := u.current().started()
		if try == MaxTries {
			if !errors.Is(err, ErrNothing) {
				t.Errorf("a fourth try: %v", err)
			}
			return
		}
		if err := errors.Join(err, save(osDisk{}, u.dir, r)); err != nil {
			t.Fatal(err)
		}
		u = n.upgrader(t, dir, Start{Slot: A, Trial: true}, "v2")
	}
}

// TestCommitOnFullDisk: a commit that cannot be written is tried again until the limit; then the
// program ends, and the next start does not run it again.
func TestCommitOnFullDisk(t *testing.T) {
	for _, mends := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n, dir := &node{}, t.TempDir()
			u := n.trial(t, dir, Health{})
			u.disk = fullDisk{err: syscall.ENOSPC}
			if mends {
				time.AfterFunc(3*time.Minute, func() {
					u.mu.Lock()
					u.disk = osDisk{}
					u.mu.Unlock()
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := u.Run(ctx)
			r, loadErr := load(u.dir)
			if mends && (err != nil || r.Phase != Committed) {
				t.Errorf("%v, %s", err, r.Phase)
			}
			if !mends && (!errors.Is(err, ErrRestart) || r.Phase != Trial || !r.Started || u.Stopped(t.Context()) != nil) {
				t.Errorf("%v, %s", err, r.Phase)
			}
			if loadErr != nil {
				t.Error(loadErr)
			}
		})
	}
}

// TestDownloads: a download is idempotent, is refused for what cannot succeed, and leaves the node
// as it was when it fails.
func TestDownloads(t *testing.T) {
	n, dir := &node{}, t.TempDir()
	u := n.upgrader(t, dir, Start{}, "v1")
	req := Request{ID: "one", Source: "x", Version: "v2"}
	for range 3 {
		if slot, err := u.Download(t.Context(), req); err != nil || slot != A || n.calls != 1 {
			t.Fatalf("%s, %v after %d fetches", slot, err, n.calls)
		}
	}
	if s := u.State(); s.Phase != Verified || s.Candidate.Version != "v2" || s.ID != "one" {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(filepath.Join(u.dir, "a", Program), []byte("program vX"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Download(t.Context(), req); err != nil || n.calls != 2 {
		t.Errorf("a slot that was damaged: %v after %d fetches", err, n.calls)
	}
	broken := errors.New("the signature is wrong")
	n.fetch = func(to Destination) (Release, error) {
		return Release{}, errors.Join(broken, os.WriteFile(filepath.Join(to.Dir, "half"), nil, 0o600), os.WriteFile(filepath.Join(to.Cache, "part"), nil, 0o600))
	}
	req.Version = "v3"
	if _, err := u.Download(t.Context(), req); !errors.Is(err, broken) || u.State().Phase != Idle {
		t.Errorf("%v, %+v", err, u.State())
	}
	for _, name := range []string{freshDir, cacheDir} {
		if _, err := os.Stat(filepath.Join(u.dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n.fetch = func(to Destination) (Release, error) {
		cancel()
		return Release{}, errors.Join(ctx.Err(), os.WriteFile(filepath.Join(to.Cache, "part"), nil, 0o600))
	}
	if _, err := u.Download(ctx, req); !errors.Is(err, context.Canceled) || u.State().Phase != Downloading {
		t.Errorf("an interrupted download: %v, %+v", err, u.State())
	}
	if _, err := os.Stat(filepath.Join(u.dir, cacheDir, "part")); err != nil {
		t.Errorf("what was downloaded is lost: %v", err)
	}
	if err := u.Discard(t.Context()); err != nil || u.State().Phase != Idle {
		t.Errorf("%v, %+v", err, u.State())
	}
	if _, err := os.Stat(filepath.Join(u.dir, cacheDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cache is left: %v", err)
	}
	for name, bad := range map[string]Request{"Source": {}, "ID": {Source: "x", ID: strings.Repeat("x", 300)}} {
		if _, err := u.Download(t.Context(), bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := u.Switch(t.Context(), A, Health{}); !errors.Is(err, ErrNothing) {
		t.Errorf("a switch to nothing: %v", err)
	}
}

// TestFormats: a program whose store the node could not go back from is refused before it is
// fetched, and so is one that cannot read the store that is there.
func TestFormats(t *testing.T) {
	for name, test := range map[string]struct {
		format int
		reads  []int
		want   string
	}{
		"same":              {2, []int{1, 2}, ""},
		"next, not read":    {3, []int{1, 2, 3}, "could not read after a rollback"},
		"downgrade, reads":  {2, []int{2}, ""},
		"downgrade, old":    {1, []int{1}, "the node's store has format 2"},
		"says nothing read": {2, nil, ""},
	} {
		n := &node{}
		n.fetch = func(to Destination) (Release, error) {
			r := Release{Version: "v2", StoreFormat: test.format, StoreFormatsRead: test.reads, Digest: "sha256:x", Size: 1}
			if err := to.Accept(r); err != nil {
				return Release{}, err
			}
			return r, nil
		}
		u := n.upgrader(t, t.TempDir(), Start{}, "v1")
		_, err := u.Download(t.Context(), Request{Source: "x"})
		if test.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if test.want != "" {
			if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), test.want) || u.State().Phase != Idle {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
		}
	}
}

// TestBusy: during a trial nothing else begins.
func TestBusy(t *testing.T) {
	n, dir := &node{}, t.TempDir()
	u := n.trial(t, dir, Health{})
	if _, err := u.Download(t.Context(), Request{Source: "y"}); !errors.Is(err, ErrBusy) {
		t.Errorf("Download: %v", err)
	}
	if err := u.Switch(t.Context(), A, Health{}); !errors.Is(err, ErrBusy) {
		t.Errorf("Switch: %v", err)
	}
	if err := u.Discard(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("Discard: %v", err)
	}
	old := n.upgrader(t, dir, Start{}, "v1")
	if err := old.Commit(t.Context()); !errors.Is(err, ErrNothing) {
		t.Errorf("Commit by another program: %v", err)
	}
}

// TestSwitchBeforeRun: a runner that goes on with a job at once may begin a trial before Run looks:
// it begins at the next start all the same.
func TestSwitchBeforeRun(t *testing.T) {
	n, dir := &node{}, t.TempDir()
	u := n.upgrader(t, dir, Start{}, "v1")
	slot, err := u.Download(t.Context(), Request{ID: "job", Source: "x", Version: "v2"})
	if err := errors.Join(err, u.Switch(t.Context(), slot, Health{})); err != nil {
		t.Fatal(err)
	}
	u.Restart()
	if err := u.Run(t.Context()); !errors.Is(err, ErrRestart) || u.State().Phase != Trial {
		t.Errorf("%s, %v", u.State().Phase, err)
	}
}

// TestRestartOnTrial: a program on trial that is to start again ends at once, and the trial goes on.
func TestRestartOnTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := (&node{}).trial(t, t.TempDir(), Health{})
		u.Restart()
		begun := time.Now()
		if err := u.Run(t.Context()); !errors.Is(err, ErrRestart) || u.State().Phase != Trial || time.Since(begun) > time.Second {
			t.Errorf("%s after %s, %v", u.State().Phase, time.Since(begun), err)
		}
	})
}

// TestRollbackByHand: during a trial and after it, with the end of the log, and only once.
func TestRollbackByHand(t *testing.T) {
	n, dir := &node{}, t.TempDir()
	u := n.trial(t, dir, Health{})
	u.cfg.Start.tail = openTail(u.dir)
	defer u.cfg.Start.tail.close()
	if _, err := u.cfg.Start.Log(new(strings.Builder)).Write([]byte("it went wrong\n")); err != nil {
		t.Fatal(err)
	}
	if err := u.Rollback(t.Context(), "by hand", "the arm does not move"); err != nil {
		t.Fatal(err)
	}
	u.Restart()
	u.Restart()
	if err := u.Run(t.Context()); !errors.Is(err, ErrRestart) {
		t.Errorf("Run: %v", err)
	}
	next := n.upgrader(t, dir, Start{}, "v1")
	log, err := next.Log()
	if o := next.State().Outcome; o == nil || o.Reason != "the arm does not move" || o.ID != "job" || log != "it went wrong\n" || err != nil {
		t.Errorf("%+v, log %q, %v", o, log, err)
	}
	if err := next.Rollback(t.Context(), "", "again"); !errors.Is(err, ErrNothing) {
		t.Errorf("a second rollback: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := next.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(u.dir, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the slot of the rolled back program is left: %v", err)
	}
}

// TestNoExec: a data folder whose file system runs no programs is found out before a download.
func TestNoExec(t *testing.T) {
	if noExec(t.TempDir()) || noExec("/does/not/exist") {
		t.Error("a folder with programs is taken for one without")
	}
	n, dir := &node{}, t.TempDir()
	u := n.upgrader(t, dir, Start{}, "v1")
	u.noExec = func(name string) bool { return name == dir }
	if _, err := u.Download(t.Context(), Request{Source: "x", Version: "v2"}); err == nil || n.calls != 0 {
		t.Errorf("the slots' folder would be there: %v", err)
	}
	if err := os.Mkdir(u.dir, 0o700); err != nil { // on a file system of its own
		t.Fatal(err)
	}
	if _, err := u.Download(t.Context(), Request{Source: "x", Version: "v2"}); err != nil {
		t.Errorf("the slots are elsewhere: %v", err)
	}
	if !noExec("/proc") {
		t.Skip("this machine has no file system that is mounted with noexec")
	}
	u = n.upgrader(t, "/proc", Start{}, "v1")
	if _, err := u.Download(t.Context(), Request{Source: "x"}); err == nil || !strings.Contains(err.Error(), "noexec") {
		t.Errorf("%v", err)
	}
}
