package edged_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/crilog"
	"github.com/edgekit/edgekit/edged/reclaim"
	"github.com/edgekit/edgekit/edged/server"
)

// logServer serves the logs of a real node, as kubectl asks for them.
func logServer(t *testing.T, r *realNode) *httptest.Server {
	t.Helper()
	s, err := server.New(server.Config{Node: "edge", Pods: r.agent, Runtime: r.runtime, Look: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends with the test, after its server
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return web
}

// onDisk returns the lines of all files of a log, oldest first, also of compressed ones.
func onDisk(t *testing.T, file string) []string {
	t.Helper()
	names, err := filepath.Glob(file + ".*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var line strings.Builder
	for _, name := range append(names, file) {
		raw, err := os.ReadFile(name)
		if err == nil && strings.HasSuffix(name, crilog.CompressedName) {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(raw)); err == nil {
				raw, err = io.ReadAll(z)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		for entry := range bytes.Lines(raw) {
			l, err := crilog.Parse(entry)
			if err != nil {
				t.Fatalf("%s: %q: %v", name, entry, err)
			}
			line.Write(l.Text)
			if !l.Partial { // a line may be cut in two by a rotation
				out = append(out, line.String())
				line.Reset()
			}
		}
	}
	return out
}

// checkLines checks that lines are "line 0", "line 1" and so on, none lost and none
// twice.
func checkLines(t *testing.T, who string, lines []string) {
	t.Helper()
	for i, line := range lines {
		if line != fmt.Sprintf("line %d of a container that says a lot all the time", i) {
			t.Fatalf("%s: line %d is %q", who, i, line)
		}
	}
}

// TestRealLogRotation rotates the log of a container that writes without a pause,
// more than twenty times, while kubectl logs -f reads it. No line is lost or
// doubled, on the disk or for the reader.
func TestRealLogRotation(t *testing.T) {
	const rotations = 25
	r := startReal(t)
	r.stop()
	r.cfg.ContainerLogs.MaxSize = -1 // the test rotates, and faster than an agent may
	r.start()
	logs, err := reclaim.NewLogs(reclaim.LogsConfig{Root: r.cfg.LogRoot, Runtime: r.runtime, MaxSize: 128 << 10, MaxFiles: 1000})
	if err != nil {
		t.Fatal(err)
	}
	p := newPod("chatty", busybox(
		`trap 'exit 0' TERM; i=0; while [ ! -e /stop ]; do echo "line $i of a container that says a lot all the time"; i=$((i+1)); [ $((i%200)) -ne 0 ] || sleep 0.03; done; echo "end"; sleep 1000 & wait`))
	p.Spec.HostNetwork = true
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	web := logServer(t, r)
	address := web.URL + "/containerLogs/default/chatty/main?"
	answer, err := http.Get(address + "follow=true") //nolint:noctx // the server's end ends it
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(err, answer)
	}
	defer answer.Body.Close()
	var read []string
	// A follower begins with the newest file, and the answer comes before that is opened:
	// nothing may be rotated before its first line.
	begun, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(answer.Body); s.Scan() && s.Text() != "end"; {
			if read = append(read, s.Text()); len(read) == 1 {
				close(begun)
			}
		}
	}()
	select {
	case <-begun:
	case <-time.After(realLimit):
		t.Fatal("the follower gets no line")
	}
	file := r.agent.LogFile(p, "main", 0)
	r.watch(t, "enough rotations", func() bool {
		if err := logs.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(file + ".*")
		return len(names) >= rotations
	})
	list, err := r.runtime.ListContainers(t.Context(), string(p.UID))
	if err == nil {
		_, err = r.runtime.ExecSync(t.Context(), list[0].ID, []string{"touch", "/stop"}, time.Minute)
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(realLimit):
		t.Error("the follower does not come to the end")
		answer.Body.Close()
		<-done
	}
	kept := onDisk(t, file)
	if n := len(kept); n == 0 || kept[n-1] != "end" {
		t.Fatalf("the log on the disk has no end, and %d lines", n)
	}
	lines := len(kept) - 1
	checkLines(t, "the disk", kept[:lines])
	checkLines(t, "kubectl logs -f", read)
	if len(read) != lines {
		t.Errorf("kubectl logs -f gave %d lines, the container wrote %d", len(read), lines)
	}
	compressed, _ := filepath.Glob(file + ".*" + crilog.CompressedName)
	t.Logf("%d lines, %d rotations, %d compressed", lines, rotations, len(compressed))
	if len(compressed) < rotations-1 {
		t.Errorf("%d are compressed, want all but the newest", len(compressed))
	}
	// Without -f, as of a kubelet: the newest file only.
	for query, want := range map[string]func(n int) bool{"tailLines=3": func(n int) bool { return n <= 3 }, "": func(n int) bool { return n < lines/2 }} {
		answer, err := http.Get(address + query) //nolint:noctx // it ends by itself
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if n := strings.Count(string(text), "\n"); err != nil || answer.StatusCode != http.StatusOK || !want(n) {
			t.Errorf("%q: %d lines, %d, %v", query, n, answer.StatusCode, err)
		}
	}
}

// TestRealAgentRotates: the agent rotates the log, the files are bounded, a link shows
// the newest one, and all are removed with the pod.
func TestRealAgentRotates(t *testing.T) {
	r := startReal(t)
	r.stop()
	r.cfg.ContainerLogs = edged.ContainerLogs{MaxSize: 20 << 10, MaxFiles: 3, Interval: 3 * time.Second, Links: filepath.Join(filepath.Dir(r.cfg.LogRoot), "links")}
	r.start()
	p := newPod("steady", busybox(`trap 'exit 0' TERM; while true; do echo "something that is said over and over again"; sleep 0.01; done`))
	p.Spec.HostNetwork = true
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	file := r.agent.LogFile(p, "main", 0)
	links, _ := filepath.Glob(r.cfg.ContainerLogs.Links + "/*")
	if len(links) != 1 || !strings.HasPrefix(filepath.Base(links[0]), "steady_default_main-") {
		t.Fatalf("links: %q", links)
	}
	seen := make(map[string]bool)
	r.watch(t, "six rotations", func() bool {
		names, _ := filepath.Glob(file + ".*")
		for _, name := range names {
			seen[strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".tmp")] = true
		}
		if len(names) > 4 { // 2, and for a moment the one that replaces the oldest, and a temporary file
			t.Fatalf("%q are kept", names)
		}
		return len(seen) >= 6
	})
	r.watch(t, "the link gives the log", func() bool { // a file that was just rotated is empty
		text, err := os.ReadFile(links[0])
		return err == nil && strings.Contains(string(text), "said over and over")
	})
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
	left, _ := filepath.Glob(r.cfg.LogRoot + "/*")
	links, _ = filepath.Glob(r.cfg.ContainerLogs.Links + "/*")
	if len(left) > 0 || len(links) > 0 {
		t.Errorf("left: %q %q", left, links)
	}
}

// watch polls until ok holds.
func (r *realNode) watch(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), realLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s did not happen", what)
		}
	}
}

// TestRealRemoveDead removes the containers and the sandbox of a pod that has ended from
// a real runtime: its status stays, also after a restart of the agent.
func TestRealRemoveDead(t *testing.T) {
	r := startReal(t)
	job := newPod("job", busybox("echo done; exit 3"))
	job.Spec.RestartPolicy, job.Spec.HostNetwork = corev1.RestartPolicyNever, true
	r.put(job)
	r.wait(t, "over", realLimit, func() bool { return r.status[job.UID].Phase == corev1.PodFailed })
	of := func() (n int) {
		list, err := r.runtime.ListContainers(t.Context(), string(job.UID))
		boxes, err2 := r.runtime.ListSandboxes(t.Context(), string(job.UID))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return len(list) + len(boxes)
	}
	if of() != 2 {
		t.Fatalf("the runtime has %d of the pod", of())
	}
	r.watch(t, "all of the pod is removed", func() bool { // once its volumes are torn down
		if err := r.agent.RemoveDead(t.Context()); err != nil {
			t.Fatal(err)
		}
		return of() == 0
	})
	before := r.statusOf(job)
	r.stop()
	r.mu.Lock()
	reports := len(r.history[job.UID])
	r.mu.Unlock()
	r.start()
	r.wait(t, "reported again", realLimit, func() bool { return len(r.history[job.UID]) > reports })
	r.mu.Lock()
	after := r.status[job.UID]
	r.mu.Unlock()
	if !equality.Semantic.DeepEqual(before, after) || after.ContainerStatuses[0].State.Terminated.ExitCode != 3 {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
}

// registry serves images of one file each, "NAME:1", to a runtime on this machine.
func registry(t *testing.T, names ...string) string {
	t.Helper()
	blobs := make(map[string][]byte)
	manifests := make(map[string][]byte)
	add := func(b []byte) map[string]any {
		sum := sha256.Sum256(b)
		digest := "sha256:" + hex.EncodeToString(sum[:])
		blobs[digest] = b
		return map[string]any{"digest": digest, "size": len(b)}
	}
	asJSON := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("there is no static program to make images of: %v", err)
	}
	for _, name := range names {
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		for file, content := range map[string][]byte{"bin/sh": program, "name": []byte(name + time.Now().String())} {
			if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: int64(len(content))}); err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(content) // Close reports it
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		l := add(layer.Bytes())
		c := add(asJSON(map[string]any{"architecture": goruntime.GOARCH, "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin"}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []any{l["digest"]}}}))
		l["mediaType"], c["mediaType"] = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.config.v1+json"
		m := asJSON(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": c, "layers": []any{l}})
		manifests[name], manifests[fmt.Sprint(add(m)["digest"])] = m, m
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/") // v2/NAME/manifests/1
		var body []byte
		kind := "application/octet-stream"
		switch {
		case len(parts) < 4:
			return
		case parts[2] == "manifests" && parts[3] == "1":
			body, kind = manifests[parts[1]], "application/vnd.oci.image.manifest.v1+json"
		case parts[2] == "manifests":
			body, kind = manifests[parts[3]], "application/vnd.oci.image.manifest.v1+json"
		default:
			body = blobs[parts[3]]
		}
		if body == nil {
			http.NotFound(w, req)
			return
		}
		sum := sha256.Sum256(body)
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Docker-Content-Digest", "sha256:"+hex.EncodeToString(sum[:]))
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body) // a client that has gone needs no answer
	}))
	t.Cleanup(web.Close)
	return strings.TrimPrefix(web.URL, "http://")
}

// TestRealImageGC pulls images into a real runtime and collects those that nobody uses:
// images of a container, of a pod that has not started, a pinned one and the caller's
// stay.
func TestRealImageGC(t *testing.T) {
	r := startReal(t)
	host := registry(t, "unused", "running", "named", "rollback")
	ref := func(name string) string { return host + "/" + name + ":1" }
	for _, name := range []string{"unused", "running", "named", "rollback"} {
		if _, err := r.runtime.PullImage(t.Context(), ref(name), nil, nil); err != nil {
			t.Fatalf("pull %s: %v", name, err)
		}
	}
	t.Cleanup(func() {
		for _, name := range []string{"unused", "running", "named", "rollback"} {
			if i, ok, err := r.runtime.ImageStatus(context.Background(), ref(name)); err == nil && ok { // after the test's own context
				_ = r.runtime.RemoveImage(context.Background(), i.ID) // the runtime is for tests
			}
		}
	})
	p := newPod("user", busybox(""))
	p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = ref("running"), []string{"/bin/sh", "-c", "read until the end"}
	p.Spec.Containers[0].Stdin, p.Spec.HostNetwork = true, true // there is nothing to read: it waits
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	images, containers, err := r.runtime.ImageFilesystems(t.Context())
	if err != nil || len(images) == 0 || images[0].Mountpoint == "" || len(containers) == 0 {
		t.Fatalf("%+v %+v %v", images, containers, err)
	}
	var events []string
	gc, err := reclaim.NewImages(reclaim.ImagesConfig{
		Runtime: r.runtime, Store: r.runtime, HighThresholdPercent: 2, LowThresholdPercent: 1, MinimumAge: -1, // any disk is fuller
		InUse: func() []string { return []string{"busybox", ref("named"), ref("rollback")} },
		Event: func(_, reason, _ string) { events = append(events, reason) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := gc.CollectGarbage(t.Context()); err == nil {
		t.Error("one image was enough for 98 percent of a disk")
	}
	present := func(name string) bool {
		_, ok, err := r.runtime.ImageStatus(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for name, want := range map[string]bool{"unused": false, "running": true, "named": true, "rollback": true} {
		if present(ref(name)) != want {
			t.Errorf("%s: present %t, want %t", name, !want, want)
		}
	}
	if !present("docker.io/library/busybox:latest") || !slices.Equal(events, []string{"FreeDiskSpaceFailed"}) {
		t.Errorf("busybox is there: %t; events %q", present("docker.io/library/busybox:latest"), events)
	}
	if r.status[p.UID].Phase != corev1.PodRunning {
		t.Errorf("%+v", r.status[p.UID])
	}
	freed, err := gc.ReclaimAll(t.Context())
	if err != nil || freed != 0 {
		t.Errorf("nothing is unused any more: %d %v", freed, err)
	}
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
	if freed, err := gc.ReclaimAll(t.Context()); err != nil || freed == 0 || present(ref("running")) {
		t.Errorf("the pod is gone: freed %d, %v", freed, err)
	}
}
