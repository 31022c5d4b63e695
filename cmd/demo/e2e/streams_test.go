package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

const toolsPod = `apiVersion: v1
kind: Pod
metadata: {name: tools, namespace: ` + tour.Namespace + `, labels: {app: tools}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: ` + devcluster.ToolsImage + `, imagePullPolicy: IfNotPresent, stdin: true}
`

// streams looks into a pod with kubectl, over each transport: the node is
// behind its own outgoing connection, nothing else leads there.
func streams(t *testing.T, s *site.Site) {
	if err := s.Kube().Apply(t.Context(), toolsPod); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "delete", "pod", "tools", "--timeout=60s"); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.WaitPod(t.Context(), tour.Namespace, "tools", time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"websocket", "quic"} {
		t.Run(transport, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			speak(ctx, t, s, transport)
			t.Run("logs", func(t *testing.T) { logs(ctx, t, s) })
			t.Run("exec", func(t *testing.T) { execs(ctx, t, s) })
			t.Run("terminal", func(t *testing.T) { terminal(ctx, t, s) })
			t.Run("attach", func(t *testing.T) { attach(ctx, t, s) })
			t.Run("cp", func(t *testing.T) { copies(ctx, t, s) })
			t.Run("port-forward", func(t *testing.T) { forwards(ctx, t, s) })
			t.Run("debug", func(t *testing.T) { debugs(ctx, t, s, "look-"+transport) })
			t.Run("on the node", func(t *testing.T) { local(ctx, t, s, "tools"); localExec(ctx, t, s) })
			t.Run("metrics", func(t *testing.T) { metrics(ctx, t, s) })
			t.Run("killed", func(t *testing.T) { killed(ctx, t, s, transport) })
		})
	}
}

// speak starts edgecore anew with one transport.
func speak(ctx context.Context, t *testing.T, s *site.Site, transport string) {
	t.Helper()
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	startWith(ctx, t, s, transport)
}

func startWith(ctx context.Context, t *testing.T, s *site.Site, transport string) {
	t.Helper()
	if _, err := s.StartEdge(tour.Node, "--transport", transport); err != nil {
		t.Fatal(err)
	}
	reachable(ctx, t, s)
}

// reachable waits until logs can be read.
func reachable(ctx context.Context, t *testing.T, s *site.Site) {
	t.Helper()
	for late := time.Now().Add(time.Minute); ; {
		_, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "logs", "tools", "--tail=1")
		if err == nil {
			return
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func logs(ctx context.Context, t *testing.T, s *site.Site) {
	k := start(ctx, t, s, "-n", tour.Namespace, "logs", "-f", "--tail=2", "tools")
	for range 5 {
		k.see("tick")
	}
	k.stop()
	out, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "logs", "tools", "--tail=3", "--timestamps")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "20") {
		t.Errorf("%q %v", out, err)
	}
	if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "logs", "tools", "--previous"); err == nil || !strings.Contains(err.Error(), `previous terminated container "app" in pod "tools" not found`) {
		t.Errorf("previous logs: %v", err)
	}
}

func execs(ctx context.Context, t *testing.T, s *site.Site) {
	out, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "exec", "tools", "--", "/tools", "sum", "/tools")
	if err != nil || len(strings.TrimSpace(out)) != 64 {
		t.Errorf("%q %v", out, err)
	}
	k := start(ctx, t, s, "-n", tour.Namespace, "exec", "-i", "tools", "--", "/tools", "console")
	k.see("console none")
	k.say("hello")
	k.see("heard hello")
	k.in.Close() // half of the connection
	k.see("end of input")
	if code := k.code(10 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	k = start(ctx, t, s, "-n", tour.Namespace, "exec", "-i", "tools", "--", "/tools", "console")
	k.say("exit 7")
	if code := k.code(10 * time.Second); code != 7 {
		t.Errorf("exit code %d, want that of the command", code)
	}
	if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "exec", "tools", "--", "/nothing"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a command that is not there: %v", err)
	}
}

func terminal(ctx context.Context, t *testing.T, s *site.Site) {
	k, tty := startTerminal(ctx, t, s, 80, 24, "-n", tour.Namespace, "exec", "-it", "tools", "--", "/tools", "console")
	k.see("console ")
	resize(t, tty, 100, 40)
	k.see("size 100x40")
	resize(t, tty, 90, 30)
	k.see("size 90x30")
	k.say("hello")
	k.see("heard hello")
	k.say("exit 3")
	if code := k.code(10 * time.Second); code != 3 {
		t.Errorf("exit code %d", code)
	}
}

func attach(ctx context.Context, t *testing.T, s *site.Site) {
	k := start(ctx, t, s, "-n", tour.Namespace, "attach", "-i", "tools")
	k.see("tick")
	k.say("anybody there")
	k.see("heard anybody there")
	k.stop()
}

// copied is how much goes through kubectl cp, each way.
const copied = 100 << 20

func copies(ctx context.Context, t *testing.T, s *site.Site) {
	local, back := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "back")
	f, err := os.Create(local)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.Reader, copied); err != nil {
		t.Fatal(err)
	}
	f.Close()
	want := hex.EncodeToString(h.Sum(nil))
	began := time.Now()
	if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "cp", local, "tools:/tmp/file"); err != nil {
		t.Fatal(err)
	}
	down := time.Since(began)
	if out, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "exec", "tools", "--", "/tools", "sum", "/tmp/file"); err != nil || strings.TrimSpace(out) != want {
		t.Errorf("in the pod: %q %v, want %s", out, err, want)
	}
	began = time.Now()
	if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "cp", "tools:/tmp/file", back); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB down in %v, up in %v", copied>>20, down.Round(10*time.Millisecond), time.Since(began).Round(10*time.Millisecond))
	text, err := os.ReadFile(back)
	if sum := sha256.Sum256(text); err != nil || hex.EncodeToString(sum[:]) != want {
		t.Errorf("back again: %x %v, want %s", sum, err, want)
	}
}

func forwards(ctx context.Context, t *testing.T, s *site.Site) {
	k := start(ctx, t, s, "-n", tour.Namespace, "port-forward", "pod/tools", ":7000")
	address := forwarded(k)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := echo(ctx, address, 64<<10); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	k.stop()
}

// forwarded is where a port-forward listens.
func forwarded(k *session) string {
	line := k.see("Forwarding from 127.0.0.1:")
	_, after, _ := strings.Cut(line, "Forwarding from ")
	address, _, _ := strings.Cut(after, " ")
	return address
}

// echo sends so many bytes to the pod, closes its half, and wants them back.
func echo(ctx context.Context, address string, size int) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := make([]byte, size)
	_, _ = rand.Read(sent) // never fails
	go func() {
		_, _ = conn.Write(sent) // what is missing is missed below
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(sent, got) {
		return fmt.Errorf("sent %d bytes, got %d: %w", size, len(got), err)
	}
	return nil
}

func debugs(ctx context.Context, t *testing.T, s *site.Site, name string) {
	if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "debug", "tools", "-c", name, "--image="+devcluster.ToolsImage, "--image-pull-policy=IfNotPresent",
		"--target=app", "--attach=false", "--", "/tools", "sum", "/proc/1/root/tools"); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(30 * time.Second); ; {
		out, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "logs", "tools", "-c", name)
		if err == nil && len(strings.TrimSpace(out)) == 64 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the ephemeral container says %q: %v", out, err)
		}
		<-time.After(300 * time.Millisecond)
	}
	var pod corev1.Pod
	if err := s.Kube().Get(ctx, &pod, "-n", tour.Namespace, "pod", "tools"); err != nil {
		t.Fatal(err)
	}
	for _, st := range pod.Status.EphemeralContainerStatuses {
		if st.Name == name && st.State.Waiting == nil {
			return
		}
	}
	t.Errorf("status of ephemeral containers: %+v", pod.Status.EphemeralContainerStatuses)
}

// metrics asks for what metrics-server asks for.
func metrics(ctx context.Context, t *testing.T, s *site.Site) {
	out, err := s.Kube().Run(ctx, "", "get", "--raw", "/api/v1/nodes/"+tour.Node+"/proxy/metrics/resource")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"node_cpu_usage_seconds_total ", "node_memory_working_set_bytes ",
		`container_cpu_usage_seconds_total{container="app",namespace="` + tour.Namespace + `",pod="tools"} `,
		`container_memory_working_set_bytes{container="app",namespace="` + tour.Namespace + `",pod="tools"} `,
		`pod_cpu_usage_seconds_total{namespace="` + tour.Namespace + `",pod="tools"} `,
		"resource_scrape_error 0",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if out, err := s.Kube().Run(ctx, "", "get", "--raw", "/api/v1/nodes/"+tour.Node+"/proxy/stats/summary"); err != nil || !strings.Contains(out, `"workingSetBytes"`) {
		t.Errorf("summary %q, %v", out, err)
	}
}
