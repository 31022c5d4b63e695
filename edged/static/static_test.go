package static_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/static"
)

const manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: busybox}]}\n"

func TestDecode(t *testing.T) {
	pod, err := static.Decode([]byte(manifest), "Gate-7")
	if err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.Containers[0]
	if pod.Name != "web-gate-7" || pod.Namespace != "default" || pod.Spec.NodeName != "Gate-7" || len(pod.UID) != 36 ||
		pod.Spec.RestartPolicy != corev1.RestartPolicyAlways || c.ImagePullPolicy != corev1.PullAlways || c.TerminationMessagePath == "" ||
		!static.Is(pod) || static.IsMirror(pod) {
		t.Errorf("%+v", pod)
	}
	again, err := static.Decode([]byte("# a comment\n"+manifest+"\n---\n"), "Gate-7")
	if err != nil || again.UID != pod.UID {
		t.Errorf("the same pod, otherwise written: %v, %v", again, err)
	}
	other, err := static.Decode([]byte(strings.Replace(manifest, "busybox", "busybox:2", 1)), "Gate-7")
	if err != nil || other.UID == pod.UID {
		t.Errorf("another image, the same uid: %v", err)
	}
	m := static.Mirror(pod)
	if !static.IsMirror(m) || static.Is(m) || m.UID != "" || m.Annotations[corev1.MirrorPodAnnotationKey] != string(pod.UID) || static.IsMirror(pod) {
		t.Errorf("mirror %+v", m)
	}
}

func TestDecodeRefuses(t *testing.T) {
	with := func(old, text string) string { return strings.Replace(manifest, old, text, 1) }
	for text, want := range map[string]string{
		"":                                   "want kind Pod",
		"{":                                  "yaml",
		with("kind: Pod", "kind: Job"):       `"Job"`,
		with("{name: web}", "{}"):            "metadata.name",
		with("name: web", "name: A_b"):       "metadata.name",
		with("name: web", "name: web, x: 1"): "unknown field",
		with("image: busybox", "image: ''"):  "image is empty",
		with("[{name: c, image: busybox}]", "[]"):                                         "spec.containers",
		with("name: c", "name: C"):                                                        "DNS label",
		with("containers:", "nodeName: other, containers:"):                               "spec.nodeName",
		with("containers:", "serviceAccountName: x, containers:"):                         "service account",
		with("containers:", "volumes: [{name: v, secret: {secretName: s}}], containers:"): `volume "v"`,
		with("image: busybox", "image: busybox, envFrom: [{configMapRef: {name: m}}]"):    "envFrom",
		manifest + "---\n" + manifest:                                                     "2 documents",
	} {
		if _, err := static.Decode([]byte(text), "n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pods") // does not exist yet
		var mu sync.Mutex
		var log lockedBuffer
		f, err := static.New(static.Config{Dir: dir, Node: "n", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		var names [][]string
		go func() {
			done <- f.Run(ctx, func(pods []*corev1.Pod) {
				var all []string
				for _, p := range pods {
					all = append(all, p.Name)
				}
				mu.Lock()
				defer mu.Unlock()
				names = append(names, all)
			})
		}()
		at := time.Now()
		write := func(name, text string) {
			at = at.Add(time.Second) // files have real times, the bubble has its own
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(what string, want ...[]string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.EqualFunc(names, want, slices.Equal) {
				t.Errorf("%s: %v, want %v", what, names, want)
			}
			names = nil
		}
		expect("no folder", nil)
		if err := os.MkdirAll(filepath.Join(dir, "below.yaml"), 0o700); err != nil {
			t.Fatal(err)
		}
		write("a.yaml", manifest)
		write("b.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"json"},"spec":{"containers":[{"name":"c","image":"x:1"}]}}`)
		write(".hidden.yaml", manifest)
		write("notes.txt", manifest)
		write("c.yml", "kind: [")
		expect("two good files", []string{"json-n", "web-n"})
		if n := strings.Count(log.String(), "static pod is skipped"); n != 2 { // c.yml and the folder
			t.Errorf("%d complaints: %s", n, log.String())
		}
		write("c.yml", manifest)
		expect("a name that is taken")
		if !strings.Contains(log.String(), "a.yaml already") {
			t.Error(log.String())
		}
		write("a.yaml", "kind: [")
		expect("a good file that became a bad one")
		write("a.yaml", strings.Replace(manifest, "busybox", "busybox:2", 1))
		expect("mended", []string{"json-n", "web-n"})
		write("a.yaml", strings.Replace(manifest, "busybox", "busybox:2", 1)+"\n")
		expect("other spaces")
		if err := os.Remove(filepath.Join(dir, "b.json")); err != nil {
			t.Fatal(err)
		}
		expect("a file that went", []string{"web-n"})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []static.Config{{}, {Dir: "relative", Node: "n"}, {Dir: "/x"}, {Dir: "/x", Node: "n", Every: -1}} {
		if _, err := static.New(cfg); err == nil {
			t.Errorf("New(%+v) succeeded", cfg)
		}
	}
}

func ExampleDecode() {
	pod, err := static.Decode([]byte(manifest), "gate-7")
	fmt.Println(pod.Name, pod.Spec.DNSPolicy, err)
	// Output: web-gate-7 ClusterFirst <nil>
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(manifest))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Pod"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		pod, err := static.Decode(text, "n")
		if err != nil {
			return
		}
		if pod.UID == "" || pod.Name == "" || len(pod.Spec.Containers) == 0 {
			t.Errorf("%q gives %+v", text, pod)
		}
	})
}
