package edgekit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/edgekit/edgekit"

// levels is the house: a package imports only what stands below it. A package
// that is not named has the level of its nearest named parent, plus one for
// adapters and joiners (everything one folder down in a domain).
var levels = map[string]int{
	"hub": 0, "meta": 0, "bus": 0,
	"meta/jsonlimit": 0, // the standard library only
	"meta/sealed":    0, // the standard library only
	"meta/resources": 0, // words that both ends of a link share
	"twin":           1, "edged": 1, "device": 1,
	"controller": 3,
	"cmd":        4, "examples": 4,
}

// joiners are the packages besides cmd and examples that may import more than
// one domain, with the domains that each of them joins to its own.
var joiners = map[string][]string{
	"meta/manager":         {"hub"},
	"bus/metastore":        {"meta"},
	"bus/rules":            {"hub", "meta"},
	"bus/pipeline":         {"meta"},
	"bus/pipeline/host":    {"hub", "meta"},
	"bus/pipeline/queue":   {"meta"},
	"bus/pipeline/sources": {"edged"}, // the format of container logs
	"bus/pipeline/wire":    {"meta"},
	"twin/mqtt":            {"bus"},
	"twin/devicespec":      {"device"},
	"twin/devicesync":      {"device", "meta"},
	"device/mqtt":          {"bus"},
	"device/inprocess":     {"twin"},
	"device/dmi":           {"twin", "meta"},

	"device/internal/edgetest": {"twin"},
}

// fences name the only packages that may import a heavy dependency directly.
var fences = map[string][]string{
	"nhooyr.io/websocket":                         {"hub/wsconn"},
	"github.com/quic-go/quic-go":                  {"hub/quicconn"},
	"github.com/dgraph-io/badger/v4":              {"meta/badgerstore"},
	"github.com/mochi-mqtt/server/v2":             {"bus/broker"},
	"github.com/eclipse/paho.golang":              {"bus/client", "device/push/mqtt"},
	"k8s.io/cri-api":                              {"edged/cri"},
	"google.golang.org/grpc":                      {"edged/cri", "edged/csi", "edged/deviceplugin", "edged/dra", "edged/pluginregistry", "edged/podresources", "edged/internal/localsocket", "edged/internal/pluginrpc", "device/dmi"},
	"github.com/container-storage-interface/spec": {"edged/csi"}, // the wire of CSI drivers
	"github.com/distribution/reference":           {"edged/image"},
	"github.com/go-jose/go-jose":                  {"meta/apiserver"},
	"k8s.io/client-go":                            {"controller", "cmd", "examples/own-cloudcore"},
	"k8s.io/streaming":                            {"edged/server", "cmd/edgectl"},
	"k8s.io/apiextensions-apiserver":              {"controller"},
	"github.com/alecthomas/kong":                  {"cmd", "examples"},
	"github.com/prometheus/client_golang":         {"controller", "cmd", "edged", "hub", "meta", "bus", "twin", "device/metrics"},
	"k8s.io/component-helpers":                    {"edged"},
	"github.com/opencontainers/cgroups":           {"edged/cgroup"},
	"github.com/godbus/dbus":                      {"edged/shutdown/logind", "edged/shutdown/shutdowntest"}, // the bus of systemd-logind
	"github.com/klauspost/compress":               {"bus/pipeline/internal/compress"},
	"github.com/google/cel-go":                    {"bus/pipeline/cel"},   // 5 MiB of memory merely linked
	"github.com/santhosh-tekuri/jsonschema":       {"bus/pipeline/codec"}, // schemas of events
	"github.com/fxamacker/cbor":                   {},                     // a reference for tests
	"github.com/robfig/cron":                      {"controller/jobs"},    // the parser of windows
	"github.com/coreos/go-systemd":                {"cmd/internal/sdnotify", "cmd/internal/systemd"},
	"golang.org/x/crypto/ssh":                     {"cmd/internal/sshhost"},
	"go.opentelemetry.io/otel":                    {"cmd/internal/tracing"},
	"go.opentelemetry.io/proto":                   {"cmd/internal/tracing"},
	"k8s.io/kubernetes":                           {},
	"github.com/stretchr/testify":                 {},
	"github.com/coder/websocket":                  {},
	// No product code starts a program, loads code or unpacks an archive: what comes
	// over the network can then not be made to do it. Three helpers of tests do, to
	// kill programs, to cut the power of a disk and to start an API server. edged/volume/mounthelper runs
	// mount(8) and umount(8): the kernel cannot find an NFS server by itself. Its
	// arguments are checked, and no shell sees them. edged/credentialprovider runs the
	// programs that the operator names in a file on the node, with arguments from there; what
	// comes over the network goes to their standard input.
	// cmd/edgectl/internal/journal runs journalctl with arguments that are constants, for the operator at
	// the machine. cmd/edgectl/internal/browser hands a file of its own to the user's browser.
	// bus/pipeline/child runs edgepipe beside edgecore: its file and arguments are the operator's.
	"os/exec": {"hub/hubbench/processtest", "controller/install/apiservertest", "meta/internal/disktest", "edged/volume/mounthelper", "edged/credentialprovider", "cmd/edgectl/internal/journal", "cmd/edgectl/internal/browser", "bus/pipeline/child"},
	"plugin":  {},
	// edged/upgrade/artifact unpacks the one archive that there is, a signed one, with two names.
	// cmd/edgectl/internal/bundle writes one, and unpacks none.
	"archive": {"edged/upgrade/artifact", "edged/upgrade/artifacttest", "cmd/edgectl/internal/bundle"},
	// Artefacts of upgrades and their signatures.
	"oras.land/oras-go":        {"edged/upgrade/artifact"},
	"github.com/notaryproject": {"edged/upgrade/artifact", "edged/upgrade/artifacttest"},
}

// starters are the functions besides os/exec by which a program is started.
var starters = [][2]string{
	{"os", "StartProcess"}, {"syscall", "Exec"}, {"syscall", "ForkExec"}, {"syscall", "StartProcess"}, {"unix", "Exec"}, {"unix", "ForkExec"},
}

// restarters are the packages that may replace the process by another program: edged/upgrade, by
// one that was verified, with this program's own arguments; cmd/edgectl, by edgecore or cloudcore
// for a command about its configuration file.
var restarters = []string{"edged/upgrade", "cmd/edgectl"}

// light names packages and what must not be found among all that they import,
// directly or not: these are what a gateway maker pays for.
var light = map[string][]string{
	"hub":            {"k8s.io/", "github.com/", "nhooyr.io/"},
	"meta":           {"k8s.io/", "github.com/", "google.golang.org/grpc"},
	"bus":            {"k8s.io/", "github.com/", "google.golang.org/grpc"},
	"twin":           {"k8s.io/", "github.com/", "google.golang.org/grpc"},
	"meta/jsonlimit": {"k8s.io/", "github.com/", "google.golang.org/"},
	"meta/sealed":    {"k8s.io/", "github.com/", "google.golang.org/"},
	"meta/resources": {"k8s.io/", "github.com/", "google.golang.org/"},
	"device":         {"k8s.io/", "github.com/", "google.golang.org/grpc"},
	"bus/topics":     {"k8s.io/", "github.com/", "google.golang.org/"},
	"bus/rules":      {"k8s.io/", "github.com/", "google.golang.org/grpc"},
	// The engine of pipelines and its codecs are for gateways; expressions are a package of their own.
	"bus/pipeline":             {"k8s.io/client-go", "k8s.io/cri-api", "k8s.io/apiserver", "github.com/google/cel-go", "github.com/santhosh-tekuri", "github.com/dgraph-io", "google.golang.org/grpc", "os/exec"},
	"bus/pipeline/codec":       {"k8s.io/client-go", "k8s.io/apiserver", "github.com/google/cel-go", "github.com/dgraph-io", "google.golang.org/grpc", "os/exec"},
	"bus/pipeline/cloudevents": {"k8s.io/client-go", "k8s.io/apiserver", "github.com/google/cel-go", "github.com/dgraph-io", "google.golang.org/grpc", "os/exec"},
	"bus/pipeline/cel":         {"k8s.io/client-go", "k8s.io/apiserver", "github.com/dgraph-io", "os/exec"},
	// Drivers and gateways use the types of the resources without Kubernetes.
	"device/v1beta1/schema": {"k8s.io/", "github.com/", "google.golang.org/grpc"},
	"meta/memstore":         {"k8s.io/", "github.com/", "google.golang.org/grpc"},
	"meta/manager":          {"k8s.io/client-go", "github.com/dgraph-io"},
	"meta/kube":             {"k8s.io/client-go", "github.com/dgraph-io"},
	"meta/apiserver":        {"k8s.io/client-go", "k8s.io/apiserver", "github.com/dgraph-io"},
	// Of the packages of opencontainers/cgroups only that for devices loads programs into the kernel.
	"edged":         {"k8s.io/client-go", "k8s.io/cri-api", "google.golang.org/grpc", "github.com/cilium/ebpf"},
	"edged/devices": {"k8s.io/client-go", "k8s.io/kubelet/pkg/apis/deviceplugin", "google.golang.org/grpc"},
	"edged/runtime": {"k8s.io/", "github.com/", "google.golang.org/"},
	"edged/upgrade": {"k8s.io/", "github.com/", "google.golang.org/", "oras.land/"},
	// Pipelines that need expressions run in a program of their own.
	"cmd/edgecore": {"k8s.io/client-go/kubernetes", "k8s.io/apiextensions-apiserver", "github.com/google/cel-go", "github.com/santhosh-tekuri"},
}

type goPackage struct {
	ImportPath                         string
	Dir                                string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, Deps                      []string
	Doc                                string
}

// name is the package's path below the module, "." for the root.
func (p goPackage) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// testOnly reports whether the package is there for tests: suites, fakes.
func (p goPackage) testOnly() bool { return strings.HasSuffix(path.Base(p.ImportPath), "test") }

var house = sync.OnceValues(func() ([]goPackage, error) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,Deps,Doc", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func packages(t *testing.T) []goPackage {
	t.Helper()
	all, err := house()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func domain(name string) string { first, _, _ := strings.Cut(name, "/"); return first }

func level(t *testing.T, name string) int {
	t.Helper()
	if l, ok := levels[name]; ok {
		return l
	}
	l, ok := levels[domain(name)]
	if !ok {
		t.Fatalf("package %s is outside the house: top-level folders are fixed", name)
	}
	if name != domain(name) && l < 2 {
		return 2
	}
	return l
}

func own(importPath string) (string, bool) { return strings.CutPrefix(importPath, module+"/") }

func TestImportDirection(t *testing.T) {
	for _, p := range packages(t) {
		if p.name() == "." {
			continue
		}
		for _, imp := range p.Imports {
			q, ok := own(imp)
			if !ok || domain(q) == domain(p.name()) {
				continue
			}
			if have, want := level(t, q), level(t, p.name()); have >= want && !slices.Contains(joiners[p.name()], domain(q)) {
				t.Errorf("%s (level %d) imports %s (level %d): imports go down only", p.name(), want, q, have)
			}
			if !mayJoin(p, q) {
				t.Errorf("%s imports %s: only joiners, controller, cmd and examples join domains", p.name(), q)
			}
		}
	}
}

// mayJoin reports whether p may import q of another domain. A level-1 domain
// may use meta's Store, the one contract that everything durable stands on, and
// the guard before JSON from outside.
func mayJoin(p goPackage, q string) bool {
	name := p.name()
	switch {
	case levels[domain(name)] >= 3, p.testOnly():
		return true
	case (q == "meta" || q == "meta/jsonlimit" || q == "meta/resources") && levels[domain(name)] == 1:
		return true
	}
	return slices.Contains(joiners[name], domain(q))
}

func TestFences(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for heavy, allowed := range fences {
				if imp != heavy && !strings.HasPrefix(imp, heavy+"/") {
					continue
				}
				inside := func(a string) bool { return p.name() == a || strings.HasPrefix(p.name(), a+"/") }
				if !slices.ContainsFunc(allowed, inside) {
					t.Errorf("%s imports %s, which only %v may", p.name(), imp, allowed)
				}
			}
		}
	}
}

// rooms name what the lower rooms of a domain may import of the same domain: its floors.
// A room that is not named may import any.
var rooms = map[string][]string{
	"hub/internal/message":           {},
	"hub/internal/load":              {},
	"hub/internal/wire":              {"hub/internal/message"},
	"hub/internal/replica":           {"hub/internal/message"},
	"hub/internal/race":              {},
	"bus/internal/topictree":         {},
	"bus/internal/session":           {},
	"bus/internal/journal":           {"bus/internal/session"},
	"bus/internal/wsframe":           {},
	"bus/internal/subscriptions":     {"bus"},
	"bus/internal/callbacks":         {},
	"bus/pipeline/internal/value":    {},
	"bus/pipeline/internal/compress": {},
	"bus/pipeline/internal/rotate":   {"bus/pipeline/v1alpha1"},
	"bus/pipeline/internal/outbound": {"bus/pipeline", "bus/pipeline/internal/compress", "bus/pipeline/v1alpha1", "bus/pipeline/wire"},
	"edged/runtime":                  {},
	"edged/internal/protomsg":        {},
	"edged/internal/localsocket":     {"edged/internal/protomsg"},
	"edged/internal/deviceapi":       {"edged/runtime", "edged/internal/protomsg"},
	"edged/devices":                  {"edged/runtime", "edged/internal/deviceapi", "edged/internal/podspec", "edged/internal/protomsg", "edged/internal/topology"},
	"edged/internal/lifecycle":       {},
	"edged/internal/pluginrpc":       {"edged/internal/protomsg"},
	"edged/pluginregistry":           {"edged/internal/lifecycle", "edged/internal/pluginrpc", "edged/internal/protomsg"},
	"edged/internal/notfound":        {},
	"edged/internal/podlogs":         {"edged/runtime", "edged/crilog"},
	"edged/internal/registry":        {},
	"edged/internal/hooks":           {"edged/runtime", "edged/internal/podspec", "edged/probe"},
	"edged/internal/slots":           {},
	"edged/internal/nodecgroups":     {"edged/cgroup", "edged/internal/allocatable", "edged/internal/lifecycle"},
	"edged/internal/imagepull":       {"edged/runtime", "edged/image", "edged/internal/events", "edged/internal/plan", "edged/internal/podspec", "edged/internal/registry"},
	"edged/internal/metricstext":     {},
	"edged/internal/probemetrics":    {"edged/internal/metricstext"},

	"edged/stats":                     {"edged/runtime", "edged/internal/containermetrics", "edged/internal/hostinfo", "edged/internal/metricstext"},
	"edged/internal/oomwatch":         {},
	"edged/internal/agentmetrics":     {},
	"edged/internal/containermetrics": {"edged/cgroup", "edged/runtime", "edged/internal/hostinfo", "edged/internal/topology"},

	"edged/internal/podspec": {
		"edged/runtime", "edged/cgroup", "edged/fieldref", "edged/static", "edged/volume", "edged/internal/notfound", "edged/internal/podlogs",
	},
	"edged/volume/mounthelper":    {},
	"edged/internal/plan":         {"edged/runtime", "edged/internal/podspec", "edged/internal/resize"},
	"edged/internal/placement":    {"edged/runtime", "edged/internal/lifecycle", "edged/internal/topology"},
	"edged/internal/devicehealth": {"edged/devices", "edged/internal/plan", "edged/internal/podspec"},
	"edged/internal/podcgroups":   {"edged/cgroup"},
	"edged/internal/actions": {
		"edged/cgroup", "edged/devices", "edged/nodestatus", "edged/runtime", "edged/volume", "edged/internal/agentmetrics", "edged/internal/events", "edged/internal/hooks",
		"edged/internal/hostinfo", "edged/internal/imagepull", "edged/internal/notfound", "edged/internal/placement", "edged/internal/plan", "edged/internal/podcgroups",
		"edged/internal/podlogs", "edged/internal/podspec", "edged/internal/resize", "edged/internal/slots", "edged/internal/userns",
	},
	"edged/internal/podview":    {"edged/crilog", "edged/runtime", "edged/internal/notfound", "edged/internal/plan", "edged/internal/podlogs", "edged/internal/regular"},
	"edged/internal/podsources": {"edged/static"},
	"edged/internal/leftovers":  {"edged/runtime", "edged/internal/podcgroups", "edged/internal/podlogs"},
	"edged/internal/prober": {
		"edged/runtime", "edged/probe", "edged/internal/events", "edged/internal/plan", "edged/internal/podspec", "edged/internal/probemetrics",
	},
	"edged/internal/durable":     {},
	"edged/upgrade":              {"edged/internal/lifecycle"},
	"edged/internal/topology":    {"edged/internal/durable", "edged/internal/podspec"},
	"edged/internal/resize":      {"edged/cgroup", "edged/internal/durable", "edged/internal/podspec"},
	"edged/internal/allocatable": {"edged/cgroup", "edged/internal/podspec"},
	"edged/internal/admission":   {"edged/runtime", "edged/internal/eviction", "edged/internal/podspec", "edged/internal/plan", "edged/static"},
	"edged/internal/eviction":    {"edged/internal/podspec", "edged/static"},
	"edged/internal/diskusage":   {},
	"edged/internal/hostinfo":    {},
	"edged/internal/nodeusage":   {"edged/runtime", "edged/internal/eviction", "edged/internal/hostinfo"},
	"edged/internal/evictor": {
		"edged/runtime", "edged/internal/diskusage", "edged/internal/eviction", "edged/internal/lifecycle", "edged/internal/nodeusage", "edged/internal/notfound",
	},
	"edged/internal/events": {"edged/internal/lifecycle", "edged/internal/podspec"},
	"edged/nodestatus":      {"edged/runtime", "edged/internal/hostinfo", "edged/internal/lifecycle", "edged/internal/notfound"},
}

// TestRooms keeps the floors within a domain.
func TestRooms(t *testing.T) {
	for _, p := range packages(t) {
		allowed, named := rooms[p.name()]
		for _, imp := range p.Imports {
			if q, ok := own(imp); ok && named && domain(q) == domain(p.name()) && !slices.Contains(allowed, q) {
				t.Errorf("%s imports %s: of its domain it may import %v only", p.name(), q, allowed)
			}
		}
	}
}

// TestNoProgramIsStarted is the fence of os/exec for those who go round it.
func TestNoProgramIsStarted(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(fences["os/exec"], p.name()) || slices.Contains(restarters, p.name()) {
			continue
		}
		for _, name := range p.GoFiles {
			f := parse(t, filepath.Join(p.Dir, name))
			for _, s := range starters {
				for _, call := range f.callsTo(s[0], s[1]) {
					t.Errorf("%s: %s.%s starts a program", f.fset.Position(call.Pos()), s[0], s[1])
				}
			}
		}
	}
}

func TestLightPackagesStayLight(t *testing.T) {
	byName := make(map[string]goPackage)
	for _, p := range packages(t) {
		byName[p.name()] = p
	}
	for name, forbidden := range light {
		p, ok := byName[name]
		if !ok {
			t.Errorf("package %s does not exist", name)
		}
		for _, dep := range p.Deps {
			if _, ours := own(dep); ours {
				continue
			}
			if i := slices.IndexFunc(forbidden, func(f string) bool { return strings.HasPrefix(dep, f) }); i >= 0 {
				t.Errorf("%s pulls in %s", name, dep)
			}
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		for _, f := range p.GoFiles {
			if parse(t, filepath.Join(p.Dir, f)).file.Doc != nil {
				with = append(with, f)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s: want one package comment, have %d %v", p.name(), len(with), with)
		}
		if base := path.Base(p.ImportPath); slices.Contains([]string{"util", "utils", "common", "helpers", "types", "misc"}, base) {
			t.Errorf("%s: name the package for what it does", p.name())
		}
	}
}

// TestGates holds library code to the gates of the house style: no init, no
// exit, no background context without a reason, no global that changes, no
// oversize file or function.
func TestGates(t *testing.T) {
	for _, p := range packages(t) {
		program := levels[domain(p.name())] == 4
		var files []parsed
		for _, f := range p.GoFiles {
			files = append(files, parse(t, filepath.Join(p.Dir, f)))
		}
		for _, f := range files {
			if generated(f) {
				continue
			}
			f.checkSizes(t)
			f.checkFuncs(t, program)
			if !program {
				f.checkGlobals(t, files)
			}
		}
	}
}

// TestLeakChecks wants a leak check in every package that starts goroutines, by go
// or by the Go of a group.
func TestLeakChecks(t *testing.T) {
	for _, p := range packages(t) {
		starts := false
		for _, name := range p.GoFiles {
			starts = starts || parse(t, filepath.Join(p.Dir, name)).starts()
		}
		checked := false
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			checked = checked || len(parse(t, filepath.Join(p.Dir, name)).callsTo("goleak", "VerifyTestMain")) > 0
		}
		if starts && !checked && !p.testOnly() && levels[domain(p.name())] < 4 {
			t.Errorf("%s starts goroutines and has no goleak.VerifyTestMain", p.name())
		}
	}
}

// TestTopLevel keeps the top-level folders that were chosen for good.
func TestTopLevel(t *testing.T) {
	entries, err := fs.ReadDir(os.DirFS("."), ".")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"hub", "twin", "meta", "bus", "edged", "controller", "device", "examples", "cmd"}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "bin" && !slices.Contains(want, e.Name()) {
			t.Errorf("folder %s: top-level folders are fixed", e.Name())
		}
	}
}
