package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device"
)

// repository is edgekit's source.
const repository = "../.."

// TestDeviceNew builds and tests what "edgectl device new" writes, with nothing but what edgekit
// itself needs.
func TestDeviceNew(t *testing.T) {
	source, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	spaced := filepath.Join(t.TempDir(), "a folder") // go.mod has it in quotes
	if err := os.Symlink(source, spaced); err != nil {
		t.Fatal(err)
	}
	source = spaced
	var out bytes.Buffer
	if err := (&deviceNew{Name: "meter-2", Edgekit: source}).Run(program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(source, "go.sum")) // "go mod tidy" without a network
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("meter-2/go.sum", sums, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"vet", "./..."}, {"test", "-count=1", "./..."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = "meter-2"
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, text)
		}
	}
	if err := (&deviceNew{Name: "meter-2"}).Run(program.Output{Writer: &out}); err == nil {
		t.Error("a folder that is there was written")
	}
	for _, bad := range []string{"", "Meter", "../x", "2x", "-", strings.Repeat("a", 64)} {
		if err := (&deviceNew{Name: bad}).Run(program.Output{Writer: &out}); err == nil {
			t.Errorf("the name %q was taken", bad)
		}
	}
	if err := (&deviceNew{Name: "other", Edgekit: "nowhere"}).Run(program.Output{Writer: &out}); err == nil {
		t.Error("a folder without edgekit was taken")
	}
	if _, err := os.Stat("other"); !os.IsNotExist(err) {
		t.Errorf("a refused command left its folder: %v", err)
	}
}

// TestTutorial has the README of package device show what "edgectl device new" writes, in less
// than 100 lines of code, and the Example of that package run the same driver.
func TestTutorial(t *testing.T) {
	files, err := newDeviceFiles("acme", "")
	if err != nil {
		t.Fatal(err)
	}
	readme, err1 := os.ReadFile(repository + "/device/README.md")
	example, err2 := os.ReadFile(repository + "/device/tutorial_test.go")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	code := 0
	for _, name := range []string{"driver.go", "main.go"} {
		if !strings.Contains(string(readme), "```go\n"+files[name]+"```\n") {
			t.Errorf("device/README.md does not show %s as newdevice/%s.txt has it", name, name)
		}
		for line := range strings.Lines(files[name]) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				code++
			}
		}
	}
	if code >= 100 {
		t.Errorf("the tutorial has %d lines of code, want less than 100", code)
	}
	_, body, _ := strings.Cut(files["driver.go"], ")\n\n") // after the imports
	if !strings.Contains(string(example), body) {
		t.Error("device/tutorial_test.go does not have the driver of newdevice/driver.go.txt")
	}
}

// TestDeviceAdopt makes Devices of what a mapper has published.
func TestDeviceAdopt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proposed")
	message := `{"event_id":"x","timestamp":1,"protocol":"acme","proposals":[` +
		`{"name":"pump-1","model":"pump","protocol":{"protocolName":"acme","configData":{"address":"10.0.0.1:7000"}},"description":"ACME pump","labels":{"vendor":"acme"},"lastFound":"2026-01-01T00:00:00Z"},` +
		`{"name":"pump-2","protocol":{"protocolName":"acme"},"properties":[{"name":"speed"}],"lastFound":"2026-01-01T00:00:00Z"}]}`
	if err := os.WriteFile(file, []byte(message), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(d deviceAdopt) string {
		var out bytes.Buffer
		d.File, d.Space = file, "plant"
		if err := d.Run(t.Context(), nil, program.Output{Writer: &out}); err != nil {
			return err.Error()
		}
		return out.String()
	}
	if got := run(deviceAdopt{}); got != "pump-1\tacme\tpump\tACME pump\npump-2\tacme\t\t\n" {
		t.Errorf("the list is %q", got)
	}
	got := run(deviceAdopt{Names: []string{"pump-1"}, Node: "edge-7"})
	for _, want := range []string{"---\napiVersion: devices.kubeedge.io/v1beta1\nkind: Device\n", "name: pump-1", "namespace: plant", "nodeName: edge-7", "address: 10.0.0.1:7000", "name: pump\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, adopt := range []deviceAdopt{{All: true, Selector: "vendor=acme"}, {All: true, Protocol: "acme", Selector: "vendor"}} {
		adopt.Node = "edge-7"
		if all := run(adopt); all != got {
			t.Errorf("%+v: %s", adopt, all)
		}
	}
	if list := run(deviceAdopt{Protocol: "other"}); list != "" {
		t.Errorf("other protocols have %q", list)
	}
	if strings.Contains(got, "status") {
		t.Errorf("it has a status:\n%s", got)
	}
	for _, tt := range []struct {
		adopt deviceAdopt
		want  string
	}{
		{deviceAdopt{Names: []string{"pump-1"}}, "--node"}, {deviceAdopt{Names: []string{"pump-3"}, Node: "n"}, "--name"},
		{deviceAdopt{Names: []string{"pump-2"}, Node: "n"}, "--model"}, {deviceAdopt{All: true, Node: "n"}, "--model"},
		{deviceAdopt{Names: []string{"pump-1"}, All: true, Node: "n"}, "--all"}, {deviceAdopt{Selector: "=="}, "--selector"},
	} {
		if got := run(tt.adopt); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%+v: %s", tt.adopt, got)
		}
	}
	for _, text := range []string{"", "{}", "[", `{"proposals":7}`} {
		if _, err := readProposals([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestDeviceAdoptFromNode asks a node, through the API server, what its mappers have found.
func TestDeviceAdoptFromNode(t *testing.T) {
	answers := map[string]string{
		"edge-7": `{"kind":"FoundDevices","node":"edge-7","lists":[{"protocol":"acme","timestamp":1,"proposals":[{"name":"pump-1","model":"pump","protocol":{"protocolName":"acme"}}]},` +
			`{"protocol":"onvif","proposals":[{"name":"pump-1","protocol":{"protocolName":"onvif"}}]}]}`,
		"edge-8": `{"lists":[{"proposals":[7]}]}`, "edge-10": `{"lists":[{"proposals":[{"name":"../x"}]}]}`,
	}
	f := fleetFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		node, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/nodes/"), "/proxy/debug/found-devices")
		if !ok || answers[node] == "" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(answers[node]))
	}), 10)
	list, err := f.found(t.Context(), "edge-7")
	if err != nil || len(list) != 2 || list[0].Name != "pump-1" || list[0].Model != "pump" || list[1].Protocol.Name != "onvif" {
		t.Errorf("found: %+v, %v", list, err)
	}
	adopt := deviceAdopt{Names: []string{"pump-1"}}
	if _, err := adopt.named(list); err == nil || !strings.Contains(err.Error(), "--protocol") {
		t.Errorf("two devices of a name: %v", err)
	}
	for _, node := range []string{"edge-8", "edge-9", "edge-10"} {
		if list, err := f.found(t.Context(), node); err == nil {
			t.Errorf("%s: %+v", node, list)
		}
	}
	bad := deviceAdopt{File: "node/../edge-7"}
	if err := bad.Run(t.Context(), nil, program.Output{}); err == nil || !strings.HasPrefix(err.Error(), "--file") {
		t.Errorf("a name of a node: %v", err)
	}
}

// TestDeviceAdoptDeclared has a node propose devices with the names of declared ones: it must not get
// them.
func TestDeviceAdoptDeclared(t *testing.T) {
	pages := map[string]string{
		"":  `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"continue":"2"},"items":[{"metadata":{"name":"pump-1"}}]}`,
		"2": `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[{"metadata":{"name":"pump-2"}}]}`,
	}
	f := fleetFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis/devices.kubeedge.io/v1beta1/namespaces/plant/devices" || r.URL.Query().Get("limit") != "10" {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(pages[r.URL.Query().Get("continue")]))
	}), 10)
	declared, err := f.declared(t.Context(), "plant")
	if err != nil || len(declared) != 2 || !declared["pump-1"] || !declared["pump-2"] {
		t.Fatalf("declared: %v, %v", declared, err)
	}
	if _, err := f.declared(t.Context(), "office"); err == nil {
		t.Error("without the right: no error")
	}
	var notes bytes.Buffer
	list := []device.Proposal{{Name: "pump-2"}, {Name: "pump-3"}}
	left, err := (&deviceAdopt{All: true}).without(declared, list, &notes)
	if err != nil || len(left) != 1 || left[0].Name != "pump-3" || !strings.Contains(notes.String(), `"pump-2" is left out`) {
		t.Errorf("adopted are %+v, %v: %s", left, err, notes.String())
	}
	if _, err := (&deviceAdopt{Names: []string{"pump-2"}}).without(declared, list, &notes); err == nil || !strings.HasPrefix(err.Error(), "--name") {
		t.Errorf("named: %v", err)
	}
}
