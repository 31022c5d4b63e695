package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/edged/upgrade/artifacttest"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// buildProgram builds a program of this module with a version.
func buildProgram(t *testing.T, dir, of, version string) string {
	t.Helper()
	name := filepath.Join(dir, of+"-"+version)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags=grpcnotrace", "-ldflags=-s -w -X github.com/edgekit/edgekit/cmd/internal/program.version="+version, "-o", name, "../"+of)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return name
}

// machine is a node without a cloud whose edgecore is started again when it ends, as by systemd.
type machine struct {
	t                *testing.T
	data, trust, ctl string
	key              *ecdsa.PrivateKey
	socket           string // where systemd listens

	mu      sync.Mutex
	process *os.Process
	log     bytes.Buffer
	notes   []string // what systemd is notified of
	starts  int
}

// Write collects the log.
func (m *machine) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(b)
}

// listen takes what edgecore says to systemd, until the test ends.
func (m *machine) listen() {
	m.t.Helper()
	dir, err := os.MkdirTemp("", "ek") // a socket's path is short
	if err != nil {
		m.t.Fatal(err)
	}
	m.socket = filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		m.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for text := make([]byte, 4096); ; {
			n, err := l.Read(text)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.notes = append(m.notes, string(text[:n]))
			m.mu.Unlock()
		}
	}()
	m.t.Cleanup(func() {
		if err := errors.Join(l.Close(), os.RemoveAll(dir)); err != nil {
			m.t.Error(err)
		}
		<-done
	})
}

// notified reports whether systemd was notified of something.
func (m *machine) notified(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.notes, text)
}

// supervise runs edgecore until ctx ends.
func (m *machine) supervise(ctx context.Context, program string, args []string) {
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = time.Minute
		cmd.Stderr = m
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.socket, "WATCHDOG_USEC=180000000")
		m.mu.Lock()
		err := cmd.Start()
		m.process = cmd.Process
		m.starts++
		m.mu.Unlock()
		if err != nil {
			m.t.Error(err)
			return
		}
		err = cmd.Wait()
		fmt.Fprintf(m, "edgecore ended: %v\n", err)
	}
}

// edgectl runs a command.
func (m *machine) edgectl(args ...string) (string, error) {
	out, err := exec.CommandContext(m.t.Context(), m.ctl, append(args, "--data-dir", m.data)...).CombinedOutput()
	return string(out), err
}

// list is what the node says of its jobs, and the state of its upgrades.
func (m *machine) list() (list jobs.List, state upgrade.State, err error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(m.data, apiDir, apiSocket))
	}}}
	resp, err := client.Get("http://node/api/v1/taskupgrade/jobs")
	if err != nil {
		return list, state, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return list, state, err
	}
	return list, state, json.Unmarshal(list.Upgrade, &state)
}

// wait waits until the node says that it is as wanted.
func (m *machine) wait(what string, want func(jobs.List, upgrade.State) bool) {
	m.t.Helper()
	hubtest.Until(m.t, what, func() bool {
		list, state, err := m.list()
		return err == nil && want(list, state)
	})
}

// artefact writes an artefact of a version with a program, signed by key.
func (m *machine) artefact(version, program string, key *ecdsa.PrivateKey) string {
	m.t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		m.t.Fatal(err)
	}
	a := artifacttest.New(artifacttest.Options{Version: version, Programs: map[string][]byte{upgrade.Program: text, upgrade.Control: text}})
	a.SignKey(m.t, key)
	return a.WriteLayout(m.t, m.t.TempDir())
}

// putJob stores a job as the cloud sends it, while edgecore does not run.
func (m *machine) putJob(job jobs.NodeJob) {
	m.t.Helper()
	body, err1 := json.Marshal(job)
	store, err2 := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(m.data, storeDir), KeyFile: filepath.Join(m.data, storeKeyFile)})
	if err := errors.Join(err1, err2); err != nil {
		m.t.Fatal(err)
	}
	o := meta.Object{Key: meta.Key{Resource: jobs.Resource, Name: jobs.Key(job.Kind, job.Name)}, Version: "1", Body: body}
	_, err := store.Apply(m.t.Context(), meta.Op{Key: meta.Down + o.Key.Path(), Value: meta.EncodeObject(o)})
	if err := errors.Join(err, store.Close()); err != nil {
		m.t.Fatal(err)
	}
}

// report is the report of a job in the outbox, while edgecore does not run.
func (m *machine) report(kind, name string) *jobs.Report {
	m.t.Helper()
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(m.data, storeDir), KeyFile: filepath.Join(m.data, storeKeyFile)})
	if err != nil {
		m.t.Fatal(err)
	}
	defer store.Close()
	rec, err := store.Get(m.t.Context(), meta.Up+meta.Key{Resource: jobs.ReportResource, Name: jobs.Key(kind, name)}.Path())
	if err != nil {
		m.t.Fatal(err)
	}
	o, err := meta.DecodeObject(meta.Up, rec)
	if err != nil {
		m.t.Fatal(err)
	}
	r, err := jobs.DecodeReport(o.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

// TestUpgradeReal upgrades a real edgecore by a file, as from a USB stick, without a cloud: to a
// good version and back, to one that ends at once, and to one that is killed on trial. Then a job
// of the cloud gives it settings with which it does not start.
func TestUpgradeReal(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("it builds programs, and runs them on Linux")
	}
	const oldVersion, newVersion = "v1.2.3", "v1.3.0"
	bin := t.TempDir()
	m := &machine{t: t, data: joined(t, 24*time.Hour), key: artifacttest.NewKey(t), ctl: buildProgram(t, bin, "edgectl", oldVersion)}
	base, next := buildProgram(t, bin, "edgecore", oldVersion), buildProgram(t, bin, "edgecore", newVersion)
	broken := filepath.Join(bin, "broken")
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { panic(\"no disk\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", broken, source).CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	m.listen()
	m.trust = artifacttest.Trust(t, map[string]*ecdsa.PublicKey{"release": &m.key.PublicKey})
	config := filepath.Join(t.TempDir(), "edgecore.yaml")
	if err := os.WriteFile(config, []byte("rules-queue-mib: 32\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--config", config, "--no-cgroups-per-qos", "--eviction-hard", "", "--data-dir", m.data, "--runtime-endpoint", critest.Serve(t, runtimetest.New()), "--upgrade-trust", m.trust,
		"--pod-log-dir", filepath.Join(m.data, "logs"), "--container-log-links", "", "--cloud", "192.0.2.1:10000", "--mqtt-listen", "unix://" + filepath.Join(t.TempDir(), "mqtt.sock"), "--no-local-api",
		"--kernel-log", "", "--device-plugin-dir", "", "--pod-resources-socket", "",
	}
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background()) // ends before the test does
		done := make(chan struct{})
		go func() { m.supervise(ctx, base, args); close(done) }()
		return func() { cancel(); <-done }
	}
	stop := start()
	defer func() {
		stop()
		if t.Failed() {
			t.Logf("edgecore said:\n%s", m.log.String())
		}
	}()
	runs := func(version string) func(jobs.List, upgrade.State) bool {
		return func(_ jobs.List, s upgrade.State) bool { return s.Version == version && s.Phase != upgrade.Trial }
	}
	m.wait("the base runs", runs(oldVersion))
	good := m.artefact(newVersion, next, m.key)

	if out, err := m.edgectl("upgrade", m.artefact(newVersion, next, artifacttest.NewKey(t)), "--stable", "1s"); err == nil || !strings.Contains(out, "DownloadFailed") {
		t.Errorf("signed by somebody else: %v: %s", err, out)
	}
	if out, err := m.edgectl("upgrade", good, "--stable", "1s"); err != nil || !strings.Contains(out, "Successful") {
		t.Fatalf("upgrade: %v: %s", err, out)
	}
	m.wait("the new version is committed", runs(newVersion))
	if out, err := m.edgectl("rollback", "--to", "v9.9.9"); err == nil || !strings.Contains(out, "can go back to "+oldVersion) {
		t.Errorf("rollback to another version: %v: %s", err, out)
	}
	if out, err := m.edgectl("rollback"); err != nil || !strings.Contains(out, oldVersion+" runs") {
		t.Fatalf("rollback: %v: %s", err, out)
	}
	m.wait("the version before runs", runs(oldVersion))
	// It was replaced twice, in one process: systemd would have killed it soon after STOPPING, or
	// while it starts for longer than its watchdog allows.
	if m.notified("STOPPING=1") || !m.notified("WATCHDOG=1\nWATCHDOG_USEC=900000000") || !m.notified("WATCHDOG_USEC=180000000") {
		t.Errorf("systemd was notified of %q", m.notes)
	}
	if out, err := m.edgectl("upgrade", m.artefact("v1.4.0", broken, m.key), "--stable", "1s"); err == nil || !strings.Contains(out, "RolledBack") || !strings.Contains(out, "crashed") {
		t.Errorf("a broken program: %v: %s", err, out)
	}
	m.wait("the version before runs", runs(oldVersion))

	if out, err := m.edgectl("upgrade", good, "--stable", "10m", "--timeout", "20m", "--no-wait"); err != nil {
		t.Fatalf("upgrade: %v: %s", err, out)
	}
	m.wait("the trial runs", func(_ jobs.List, s upgrade.State) bool { return s.Version == newVersion && s.Phase == upgrade.Trial })
	m.mu.Lock()
	err := m.process.Kill() // as a power cut
	m.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	m.wait("the killed trial is rolled back", func(list jobs.List, s upgrade.State) bool {
		return runs(oldVersion)(list, s) && len(list.Items) == 1 && list.Items[0].Phase == "RolledBack"
	})

	stop()
	m.putJob(configJobOf("bad", "0")) // what edgecore finds out only when it starts
	stop = start()
	m.wait("the settings are rolled back", func(list jobs.List, _ upgrade.State) bool {
		for _, s := range list.Items {
			if s.Name == "bad" {
				return s.Phase == "RolledBack"
			}
		}
		return false
	})
	if text, err := os.ReadFile(config); err != nil || string(text) != "rules-queue-mib: 32\n" {
		t.Errorf("the settings: %s, %v", text, err)
	}
	stop()
	if r := m.report(v1alpha2.KindConfigUpdateJob, "bad"); r.Phase != v1alpha2.NodeRolledBack || r.Message == "" {
		t.Errorf("%+v", r)
	}
	m.putJob(configJobOf("good", "48"))
	stop = start()
	m.wait("the settings are committed", func(list jobs.List, _ upgrade.State) bool {
		for _, s := range list.Items {
			if s.Name == "good" {
				return s.Phase == "Successful"
			}
		}
		return false
	})
	if text, err := os.ReadFile(config); err != nil || string(text) != "rules-queue-mib: 48\n" {
		t.Errorf("the settings: %s, %v", text, err)
	}
}

func configJobOf(name, value string) jobs.NodeJob {
	job := jobs.NodeJob{
		Kind: v1alpha2.KindConfigUpdateJob, Name: name, UID: "uid-" + name, Generation: 1, Phase: v1alpha2.Apply, TimeoutSeconds: 300,
		ConfigUpdate: &jobs.ConfigUpdate{UpdateFields: map[string]v1alpha2.FieldValue{"rules-queue-mib": v1alpha2.FieldValue(value)}, RollbackOnFailure: true},
	}
	job.ConfigUpdate.Health.Timeout.Duration, job.ConfigUpdate.Health.Stable.Duration = 5*time.Minute, time.Second
	return job
}
