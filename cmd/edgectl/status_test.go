package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/hub/join"
)

// now is the time of the tests' documents.
func at(ago time.Duration) time.Time {
	return time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC).Add(-ago)
}

// goodStatus is the document of a node that is well.
func goodStatus() *nodestate.Status {
	return &nodestate.Status{
		Kind: nodestate.Kind, Node: "edge-7", Time: at(0),
		Program:     nodestate.Program{Version: "v1.2.3", Kubernetes: "v1.37.2-edgekit", Slot: "base", PID: 7, Started: at(time.Hour)},
		Link:        nodestate.Link{Connected: true, Since: at(time.Hour), Cloud: "cloud:10000", Transport: "quic", RoundTrip: "15ms"},
		Store:       nodestate.Store{Bytes: 5 << 20, Encrypted: true},
		Runtime:     nodestate.Runtime{Endpoint: "unix:///run/containerd/containerd.sock", Name: "containerd", Version: "2.2", Ready: true},
		Pods:        nodestate.Pods{Total: 3, Ready: 2, Finished: 1},
		Devices:     nodestate.Devices{Total: 2, States: map[string]int{"online": 2}},
		MQTT:        nodestate.MQTT{Mode: "internal", Listen: []string{"tcp://:1884"}, Clients: 4},
		Certificate: nodestate.Certificate{Ends: at(-60 * 24 * time.Hour)},
		Clock:       nodestate.Clock{Now: at(0), Proved: at(time.Minute)},
		Disks:       []nodestate.Disk{{Path: "/var/lib/edgekit", TotalBytes: 10 << 30, FreeBytes: 5 << 30, FreeInodes: 9}},
	}
}

// TestNodeProblems: each fault of a node is one problem with the command to type next.
func TestNodeProblems(t *testing.T) {
	command := &statusCmd{Certificate: defaultCertificateWarning}
	if got := command.nodeProblems(goodStatus(), at(0)); len(got) != 0 {
		t.Errorf("a good node has problems: %+v", got)
	}
	for reason, fault := range map[string]func(*nodestate.Status){
		"LinkDown":        func(s *nodestate.Status) { s.Link.Connected, s.Link.Reason = false, "no route" },
		"Fenced":          func(s *nodestate.Status) { s.Link.Connected, s.Link.Fenced = false, true },
		"StoreUnwritable": func(s *nodestate.Status) { s.Store.Failure = "disk full" },
		"StoreDamaged":    func(s *nodestate.Status) { s.Store.Damaged = 1 },
		"EventsDropped":   func(s *nodestate.Status) { s.Store.EventsDropped = 1 },
		"NotEncrypted":    func(s *nodestate.Status) { s.Store.Encrypted = false },
		"RuntimeNotReady": func(s *nodestate.Status) { s.Runtime.Ready = false },
		"ImagePullBackOff": func(s *nodestate.Status) {
			s.Pods.NotReady = []nodestate.Pod{{Namespace: "ns", Name: "web", Reason: "ImagePullBackOff"}, {Reason: "ContainerCreating", Since: at(time.Second)}}
		},
		"NotOnline":          func(s *nodestate.Status) { s.Devices.Bad = []string{"ns/pump"} },
		"BrokerAway":         func(s *nodestate.Status) { s.MQTT.Outside = &nodestate.Broker{URL: "tcp://b", Reason: "refused"} },
		"CertificateExpired": func(s *nodestate.Status) { s.Certificate.Ends = at(time.Hour) },
		"CertificateEnds":    func(s *nodestate.Status) { s.Certificate.Ends = at(-time.Hour) },
		"ClockWrong":         func(s *nodestate.Status) { s.Clock.Behind = true },
		"DiskFull":           func(s *nodestate.Status) { s.Disks[0].FreeBytes = 1 },
	} {
		s := goodStatus()
		fault(s)
		got := command.nodeProblems(s, at(0))
		if len(got) != 1 || got[0].Reason != reason || got[0].Next == "" || got[0].Severity == "" {
			t.Errorf("%s: %+v", reason, got)
		}
	}
}

// serveNode serves the node's sockets in a new working folder until the test ends.
func serveNode(t *testing.T, handler http.HandlerFunc) {
	t.Helper()
	serveAPI(t, handler)
	listener, err := net.Listen("unix", "api/kubelet.sock")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
}

func runStatus(t *testing.T, command *statusCmd) (string, error) {
	t.Helper()
	command.Local, command.DataDir, command.Certificate, command.Limit = true, ".", defaultCertificateWarning, 50
	if command.Output == "" {
		command.Output = printer.FormatTable
	}
	var out strings.Builder
	err := command.Run(t.Context(), &cli{}, program.Output{Writer: &out})
	if strings.ContainsAny(out.String(), "\x1b\a") {
		t.Errorf("control characters in %q", out.String())
	}
	return out.String(), err
}

// TestLocalStatus: at the machine, problems come first, and JSON has the whole document.
func TestLocalStatus(t *testing.T) {
	state := goodStatus()
	state.Certificate.Ends = time.Now().Add(90 * 24 * time.Hour)
	state.Link = nodestate.Link{Cloud: "cloud:10000", Reason: "no route to \x1b[2J host", Since: time.Now().Add(-5 * time.Minute), Failed: 3, NextTry: time.Now().Add(time.Hour)}
	state.Errors = []string{"level=WARN msg=\"link is down\""}
	waiting := time.Now().Add(-time.Hour)
	list := jobs.List{Items: []jobs.Status{
		{Kind: "NodeUpgradeJob", Name: "nightly", Phase: "Pending", Reason: "WaitingForConfirmation", WaitingSince: &waiting},
		{Kind: "ImagePrePullJob", Name: "pull", Phase: "InProgress"}, {Kind: "ImagePrePullJob", Name: "old", Phase: "Successful"},
	}}
	serveNode(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case nodestate.Path:
			_ = json.NewEncoder(w).Encode(state)
		case jobsPath + "/jobs":
			_ = json.NewEncoder(w).Encode(list)
		default:
			t.Error(r.URL.Path)
		}
	})
	text, err := runStatus(t, &statusCmd{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LinkDown", "edgectl check", `no route to \x1b[2J host`, "next attempt in", "containerd 2.2", "2/2 ready", "link is down", "job/nightly", "edgectl confirm NodeUpgradeJob/nightly", "WaitingForConfirmation, for ", "ImagePrePullJob pull"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "ImagePrePullJob old") {
		t.Errorf("a job that has ended is in\n%s", text)
	}
	if !strings.HasPrefix(text, "SEVERITY") || strings.Index(text, "LinkDown") > strings.Index(text, "ITEM") {
		t.Errorf("problems are not first in\n%s", text)
	}
	if _, err := runStatus(t, &statusCmd{ExitCode: true}); err == nil {
		t.Error("--exit-code gives no error")
	}
	text, err = runStatus(t, &statusCmd{Flags: printer.Flags{Output: "json"}})
	var back localStatus
	if err != nil || json.Unmarshal([]byte(text), &back) != nil || !back.Running || back.Node.Link.Reason != state.Link.Reason || len(back.Problems) != 2 || len(back.Jobs) != 2 {
		t.Errorf("%v\n%s", err, text)
	}
	if text, err = runStatus(t, &statusCmd{Flags: printer.Flags{Output: "name"}}); err != nil || text != "node/edge-7\njob/nightly\n" {
		t.Errorf("%v %q", err, text)
	}
}

// TestStoppedStatus: an edgecore that does not run is described from its files, with or without
// a socket that was left behind.
func TestStoppedStatus(t *testing.T) {
	t.Chdir(t.TempDir())
	text, err := runStatus(t, &statusCmd{})
	if err != nil || !strings.Contains(text, "NotJoined") {
		t.Errorf("%v\n%s", err, text)
	}
	writeIdentity(t, "identity", "edge-9", time.Now().Add(-time.Hour))
	text, err = runStatus(t, &statusCmd{})
	for _, want := range []string{"NotRunning", "systemctl start edgecore", "edge-9", "CertificateExpired", "cloud:10000", "does not run"} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%v: no %q in\n%s", err, want, text)
		}
	}
	if err := os.Mkdir("api", 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "api/kubelet.sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if text, err = runStatus(t, &statusCmd{}); err != nil || !strings.Contains(text, "NotRunning") {
		t.Errorf("a socket without a listener: %v\n%s", err, text)
	}
}

// TestOlderStatus: an edgecore without a status document runs, and is not said to be stopped.
func TestOlderStatus(t *testing.T) {
	serveNode(t, http.NotFound)
	writeIdentity(t, "identity", "edge-9", time.Now().Add(time.Hour))
	text, err := runStatus(t, &statusCmd{})
	for _, want := range []string{"OlderVersion", "edge-9", "older than this edgectl"} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%v: no %q in\n%s", err, want, text)
		}
	}
	for _, wrong := range []string{"NotRunning", "NotAnswering", "stopped", "404"} {
		if strings.Contains(text, wrong) {
			t.Errorf("%q in\n%s", wrong, text)
		}
	}
}

// TestHungStatus: an edgecore that accepts a connection and says nothing does not hold up status.
func TestHungStatus(t *testing.T) {
	serveNode(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	text, err := runStatus(t, &statusCmd{answer: 10 * time.Millisecond})
	if err != nil || !strings.Contains(text, "edgecore does not answer: context deadline exceeded") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestService(t *testing.T) {
	root := t.TempDir()
	m := hostRoot{root}
	if got := m.service(); got.State != "unknown" {
		t.Errorf("without systemd: %+v", got)
	}
	for _, step := range []struct {
		file, text string
		want       service
	}{
		{"run/systemd/system/x", "", service{Unit: serviceName, State: "not installed"}},
		{"usr/lib/systemd/system/" + serviceName, "", service{Unit: serviceName, State: "inactive"}},
		{"etc/systemd/system/multi-user.target.wants/" + serviceName, "", service{Unit: serviceName, State: "inactive", Enabled: true}},
		{"sys/fs/cgroup/system.slice/" + serviceName + "/cgroup.procs", "12\n", service{Unit: serviceName, State: "active", Enabled: true, PIDs: 1}},
	} {
		writeFile(t, filepath.Join(root, step.file), step.text)
		if got := m.service(); got != step.want {
			t.Errorf("with %s: %+v, want %+v", step.file, got, step.want)
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestScope(t *testing.T) {
	dir := t.TempDir()
	flags := scopeFlags{DataDir: dir}
	if flags.isLocal(&cli{}) {
		t.Error("a machine without a node is local")
	}
	writeFile(t, filepath.Join(dir, "identity", "x"), "")
	for _, tt := range []struct {
		local, fleet bool
		kubeconfig   string
		want         bool
	}{{false, false, "", true}, {false, true, "", false}, {false, false, "k", false}, {true, false, "k", true}} {
		flags := scopeFlags{DataDir: dir, Local: tt.local, Fleet: tt.fleet}
		if got := flags.isLocal(&cli{Kubeconfig: tt.kubeconfig}); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}

func TestSortProblems(t *testing.T) {
	problems := []problem{{Severity: severityWarning, Object: "b"}, {Severity: severityError, Object: "z", Since: at(0)}, {Severity: severityError, Object: "y", Since: at(time.Hour)}}
	sortProblems(problems)
	var order []string
	for _, p := range problems {
		order = append(order, p.Object)
	}
	if !slices.Equal(order, []string{"y", "z", "b"}) {
		t.Error(order)
	}
}

// writeIdentity writes what a machine has that joined; its certificate ended or ends at ends.
func writeIdentity(t *testing.T, dir, node string, ends time.Time) {
	t.Helper()
	ca, err := join.NewCA("test", ends.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.IssueNode(key.Public(), node, ends.Add(-time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := join.Credentials{Node: node, Key: key, Leaf: leaf, Roots: []*x509.Certificate{ca.Certificate()}}
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "cloud.json"), `{"cloud":"cloud:10000"}`)
	writeFile(t, filepath.Join(dir, "clock"), ends.UTC().Format(time.RFC3339)+"\n")
}

// TestLocalDescribeJobs: describe shows what waits for somebody at the machine.
func TestLocalDescribeJobs(t *testing.T) {
	state, waiting := goodStatus(), time.Now().Add(-time.Hour)
	serveNode(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case nodestate.Path:
			_ = json.NewEncoder(w).Encode(state)
		case jobsPath + "/jobs":
			_ = json.NewEncoder(w).Encode(jobs.List{Items: []jobs.Status{{Kind: "NodeUpgradeJob", Name: "nightly", Phase: "Pending", Reason: "WaitingForConfirmation", WaitingSince: &waiting}}})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	d := &describeCmd{Flags: printer.Flags{Output: printer.FormatTable}, scopeFlags: scopeFlags{DataDir: ".", Local: true}}
	var out strings.Builder
	if err := d.describeLocalNode(t.Context(), &out, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"edgectl confirm NodeUpgradeJob/nightly", "WaitingForConfirmation, for 60m"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
