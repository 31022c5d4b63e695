package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

// section returns the commands of a section of the README: its indented lines without comments.
func section(t *testing.T, title string) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("the README has no section %q", title)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var out []string
	for line := range strings.SplitSeq(rest, "\n") {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			command, _, _ = strings.Cut(command, "  #")
			out = append(out, strings.TrimSpace(command))
		}
	}
	return out
}

// TestReadmeInstall runs the commands about the cloud part that the README shows. Those of helm
// and kubectl are looked at only: the module rendertest has their libraries.
func TestReadmeInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no edgecore of this machine
	server := apiservertest.Start(t)
	client, err := kubernetes.NewForConfig(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	playDeployments(t, client)
	cluster := []string{"--kubeconfig", server.Kubeconfig(t)}
	ran := 0
	for _, line := range section(t, "Install the cloud part") {
		words := strings.Fields(line)
		switch {
		case words[0] != "edgectl":
			at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "controller/") })
			if at < 0 {
				t.Errorf("%q names no folder of the repository", line)
			} else if _, err := os.Stat(filepath.Join("../..", words[at])); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			continue
		case words[1] == "config" && words[2] == "convert":
			words[3] = "../internal/kubeedgeconfig/testdata/edgecore.yaml"
			must(t, words[1:]...)
		case words[1] == "config": // for edgecore, which is not beside the test
			code, _, errs := command(t, words[1:]...)
			if code == 0 || !strings.Contains(errs, "there is no program edgecore") {
				t.Errorf("%q: exit %d, %q", line, code, errs)
			}
		default:
			must(t, slices.Concat(words[1:], cluster)...)
		}
		ran++
	}
	if ran < 7 {
		t.Errorf("%d commands were run", ran)
	}
}

// TestConvert converts a file as a user does: nothing secret is printed, and what is written is
// not replaced.
func TestConvert(t *testing.T) {
	const from = "../internal/kubeedgeconfig/testdata/edgecore.yaml"
	dir := t.TempDir()
	out := must(t, "config", "convert", from, "--all", "--secrets-dir", filepath.Join(dir, "secrets"))
	for _, want := range []string{"max-pods: \"64\"\n", "# What edgekit does not do:\n", "# What works in another way:\n", "# What edgekit has no need for:\n", "edgectl join -e 192.0.2.10:10000 -i edge-7", "mqtt-broker-password-file: " + dir} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, secret := range []string{"hash.of-a-secret-token", "the-password"} {
		if strings.Contains(out, secret) {
			t.Errorf("%q is printed", secret)
		}
	}
	password := filepath.Join(dir, "secrets", "mqtt-broker-password")
	info, err := os.Stat(password)
	text, err2 := os.ReadFile(password)
	if err != nil || err2 != nil || info.Mode().Perm() != 0o600 || string(text) != "the-password" {
		t.Errorf("%s: %v %v", password, err, err2)
	}
	file := filepath.Join(dir, "edgecore.yaml")
	if out = must(t, "config", "convert", from, "--write", file); !strings.Contains(out, "edgectl config validate --of edgecore "+file) {
		t.Errorf("output %q", out)
	}
	refused(t, "is there already", "config", "convert", from, "--write", file)
	refused(t, "want kind EdgeCore", "config", "convert", file)
	refused(t, "--file", "config", "convert", "/nonexistent")
}

// TestCompletionHasCommands looks for commands of this program in its script.
func TestCompletionHasCommands(t *testing.T) {
	text := must(t, "completion", "bash")
	for _, want := range []string{`" upgrade cloud"`, "--advertise-address", "complete -o default -F _edgectl edgectl"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
}
