package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func TestPodUID(t *testing.T) {
	const uid = "0b6c1f1e-94f3-4f0c-9b51-0a5e6c7d8e9f"
	for cgroup, want := range map[string]string{
		"/kubepods/burstable/pod" + uid + "/4d1f": uid,
		"/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-4d1f.scope":                uid,
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/x.y": uid,
		"/system.slice/edgecore.service": "",
	} {
		if got := podUID(cgroup); got != want {
			t.Errorf("%s: %q, want %q", cgroup, got, want)
		}
	}
	for path, want := range map[string]string{
		"/var/lib/edgekit/pods/" + uid + "/volumes": uid,
		"/run/netns/cni-" + uid:                     "", // CNI's own
	} {
		if got := uidIn(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		opts        options
		legs, parts int
		err         string
	}{
		"all":            {options{Arch: "amd64"}, 4, 12, ""},
		"short":          {options{Arch: "arm64"}, 1, 8, ""},
		"short on amd64": {options{Arch: "amd64", Short: true}, 4, 8, ""},
		"some":           {options{Arch: "amd64", Legs: []string{"2-systemd"}, Parts: []string{"stock"}}, 1, 2, ""},
		"no such leg":    {options{Arch: "amd64", Legs: []string{"3-systemd"}}, 0, 0, `no leg "3-systemd"`},
		"leg of another": {options{Arch: "arm64", Legs: []string{"2-systemd"}}, 0, 0, `no leg "2-systemd" on arm64`},
		"no such part":   {options{Arch: "arm64", Parts: []string{"stock"}}, 0, 0, `no part "stock" on arm64`},
	} {
		t.Run(name, func(t *testing.T) {
			legs, err := tc.opts.variants()
			var parts []part
			if err == nil {
				parts, err = tc.opts.parts()
			}
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("%v, want %s", err, tc.err)
				}
				return
			}
			if err != nil || len(legs) != tc.legs || len(parts) != tc.parts {
				t.Errorf("%v, %d legs, %d parts; want %d and %d", err, len(legs), len(parts), tc.legs, tc.parts)
			}
		})
	}
}

// TestTestsForStock: only a run of the part stock builds the tests that it needs.
func TestTestsForStock(t *testing.T) {
	for name, tc := range map[string]struct {
		opts options
		want int
	}{
		"all": {options{Arch: "amd64"}, 2}, "stock": {options{Arch: "amd64", Parts: []string{"stock"}}, 2},
		"short": {options{Arch: "amd64", Short: true}, 0}, "other parts": {options{Arch: "amd64", Parts: []string{"node"}}, 0},
		"upgrade": {options{Arch: "amd64", Upgrade: true, Cuts: 1}, 0},
	} {
		if got := tc.opts.tests(); len(got) != tc.want {
			t.Errorf("%s: %v, want %d packages", name, got, tc.want)
		}
	}
}

// TestStepsHaveNames checks that no two checks of a leg have one name.
func TestStepsHaveNames(t *testing.T) {
	for _, short := range []bool{false, true} {
		seen := map[string]bool{}
		for _, p := range allParts(short) {
			for _, s := range p.steps {
				if seen[s.name] || s.name == "" || strings.ContainsAny(s.name, " :") || s.run == nil {
					t.Errorf("part %s: bad name %q", p.name, s.name)
				}
				seen[s.name] = true
			}
		}
		if !short && len(seen) < 20 {
			t.Errorf("%d checks", len(seen))
		}
	}
}

func TestPodYAML(t *testing.T) {
	p := pod{name: "a", script: `echo "x" 'y'; exit`, container: "    resources: {limits: {memory: 24Mi}}", pod: "  restartPolicy: Never"}
	var got corev1.Pod
	text, err := yaml.ToJSON([]byte(p.yaml()))
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if c := got.Spec.Containers[0]; c.Command[2] != p.script || c.Resources.Limits.Memory().Value() != 24<<20 || got.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("%+v", got.Spec)
	}
}

// TestBudgetManifests: the devices of the part memory are YAML, and as many as the budget says.
func TestBudgetManifests(t *testing.T) {
	devices, properties := 0, 0
	in := yaml.NewYAMLOrJSONDecoder(strings.NewReader(budgetDevicesYAML()), 4096)
	for {
		var o struct {
			Kind string
			Spec struct{ Properties []json.RawMessage }
		}
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Kind == "Device" {
			devices++
			properties += len(o.Spec.Properties)
		}
	}
	if devices != 10 || properties != 100 {
		t.Errorf("%d devices with %d properties", devices, properties)
	}
}

// TestCutPoints asks each moment of an upgrade with the machine's own shell functions, over boot
// records like those of edged/upgrade.
func TestCutPoints(t *testing.T) {
	const before = `{"phase":"Committed","active":"a","id":"first","slots":{},"outcome":{"id":"first"}}`
	records := []struct{ name, text, exe string }{
		{"before", before, "a"},
		{"downloading", `{"phase":"Downloading","active":"a","candidate":"b","id":"second","outcome":{"id":"first"}}`, "a"},
		{"verified", `{"phase":"Verified","active":"a","candidate":"b","id":"second"}`, "a"},
		{"trial", `{"phase":"Trial","active":"a","candidate":"b","id":"second"}`, "a"},
		{"counted", `{"phase":"Trial","active":"a","candidate":"b","id":"second","tries":1,"started":true}`, "a"},
		{"tried", `{"phase":"Trial","active":"a","candidate":"b","id":"second","tries":1,"started":true}`, "b"},
		{"committed", `{"phase":"Committed","active":"b","previous":"a","id":"second","outcome":{"id":"second"}}`, "b"},
	}
	come := map[string]string{ // the records at which each moment has come
		"download-begins": "downloading", "downloading": "downloading", "verified": "verified", "switched": "trial counted tried",
		"trial-counted": "counted tried", "new-program-starts": "tried", "new-program-runs": "tried", "new-program-judged": "tried",
		"committed": "committed", "committed-and-reported": "committed", "after-the-end": "committed",
	}
	file := filepath.Join(t.TempDir(), "boot")
	for _, p := range cutPoints {
		if p.busy {
			continue // it asks whether the new record is there, and no more
		}
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		script := strings.ReplaceAll(cutFunctions, bootRecord, file) + "systemctl() { echo 1; }\nreadlink() { echo /var/lib/edgekit/slots/$exe/edgecore; }\n"
		for _, r := range records {
			script += "exe=" + r.exe + "; printf '%s' '" + r.text + "' > " + file + "\nif " + p.when + "; then echo " + r.name + "; fi\n"
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", p.name, err, out)
		}
		if got := strings.Join(strings.Fields(string(out)), " "); got != come[p.name] {
			t.Errorf("%s comes at %q, want %q", p.name, got, come[p.name])
		}
	}
}

// TestCutScripts reads each script with the shell, without running it.
func TestCutScripts(t *testing.T) {
	for _, p := range cutPoints {
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", p.script()).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", p.name, err, out)
		}
	}
}

// TestKeepPriority: nothing is written for a program of the usual priority, nor where the kernel has
// no groups of sessions.
func TestKeepPriority(t *testing.T) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	proc := t.TempDir()
	if err := keepPriority(proc, 7); err != nil {
		t.Fatalf("without the file: %v", err)
	}
	file := filepath.Join(proc, "7", "autogroup")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("as it was"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := keepPriority(proc, 7); err != nil {
		t.Fatal(err)
	}
	want := "as it was"
	if raw != 20 {
		want = strconv.Itoa(20 - raw)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}
