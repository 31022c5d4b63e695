package podresources_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
	old "k8s.io/kubelet/pkg/apis/podresources/v1alpha1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/devices/devicestest"
	"github.com/edgekit/edgekit/edged/internal/metricstext"
	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/podresources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a node with one pod that has CPUs and memory alone.
type node struct{ pods []*corev1.Pod }

func (n node) ActivePods() []*corev1.Pod { return n.pods }

func (n node) OwnResources(uid, container string) ([]int, []edged.MemoryBlock) {
	if container != "c" {
		return nil, nil
	}
	return []int{5, 1}, []edged.MemoryBlock{{Type: "memory", Size: 1 << 40, Nodes: []int{0, 1}}}
}

func (node) AllocatableResources() ([]int, []edged.MemoryBlock) {
	return []int{1, 2, 5}, []edged.MemoryBlock{{Type: "hugepages-2Mi", Size: 4 << 20, Nodes: []int{1}}}
}

// ContainerClaims implements Claims.
func (node) ContainerClaims(_ *corev1.Pod, container string) []podresources.Claim {
	if container != "c" {
		return nil
	}
	return []podresources.Claim{{Namespace: "ns", Name: "claim", Devices: []podresources.ClaimDevice{{Driver: "d", Pool: "p", Device: "0", ShareID: "s", CDIDevices: []string{"v/c=0"}}}}}
}

// serve serves a socket until the test ends.
func serve(t *testing.T, cfg podresources.Config) *podresources.Server {
	t.Helper()
	s, err := podresources.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends after the test's own context
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pr") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := pluginrpc.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestServer reads all that the API says with the generated package.
func TestServer(t *testing.T) {
	m, err := devices.New(devices.Config{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Connect("vendor.example/widget", &devicestest.Plugin{}, devices.Options{})
	if err == nil {
		err = e.SetDevices(devicestest.Devices("a@1", "b"))
	}
	p := podtest.New("Always", "init:i", "side:s", "c")
	p.Spec.Containers[0].Resources.Limits = podtest.Resources("vendor.example/widget", "1")
	if err = errors.Join(err, m.Reserve(p), m.Prepare(t.Context(), p)); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(folder(t), "deep", "kubelet.sock")
	n := node{[]*corev1.Pod{p}}
	s := serve(t, podresources.Config{Socket: socket, Node: n, Devices: m, Claims: n})
	<-s.Ready()
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	conn := dial(t, socket)
	client := api.NewPodResourcesListerClient(conn)
	const container = `name:"c" devices:{resource_name:"vendor.example/widget" device_ids:"a" topology:{nodes:{ID:1}}} cpu_ids:1 cpu_ids:5 memory:{memory_type:"memory" size:1099511627776 topology:{nodes:{} nodes:{ID:1}}} dynamic_resources:{claim_name:"claim" claim_namespace:"ns" claim_resources:{cdi_devices:{name:"v/c=0"} driver_name:"d" pool_name:"p" device_name:"0" share_id:"s"}}`
	const pod = `name:"pod" namespace:"ns" containers:{name:"s"} containers:{` + container + `}`
	list, err := client.List(t.Context(), &api.ListPodResourcesRequest{})
	if got := plain(list); err != nil || got != "pod_resources:{"+pod+"}" {
		t.Errorf("%s, %v", got, err)
	}
	one, err := client.Get(t.Context(), &api.GetPodResourcesRequest{PodName: "pod", PodNamespace: "ns"})
	if got := plain(one); err != nil || got != "pod_resources:{"+pod+"}" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := client.Get(t.Context(), &api.GetPodResourcesRequest{PodName: "none", PodNamespace: "ns"}); err == nil || !strings.Contains(err.Error(), "pod none in namespace ns not found") {
		t.Errorf("%v", err)
	}
	all, err := client.GetAllocatableResources(t.Context(), &api.AllocatableResourcesRequest{})
	const want = `devices:{resource_name:"vendor.example/widget" device_ids:"a" topology:{nodes:{ID:1}}} devices:{resource_name:"vendor.example/widget" device_ids:"b"} cpu_ids:1 cpu_ids:2 cpu_ids:5 memory:{memory_type:"hugepages-2Mi" size:4194304 topology:{nodes:{ID:1}}}`
	if got := plain(all); err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
	alpha, err := old.NewPodResourcesListerClient(conn).List(t.Context(), &old.ListPodResourcesRequest{})
	if err != nil || len(alpha.PodResources) != 1 || alpha.PodResources[0].Containers[1].Devices[0].DeviceIds[0] != "a" {
		t.Errorf("%v, %v", alpha, err)
	}
	var text strings.Builder
	if err := metricstext.Write(&text, s); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`kubelet_pod_resources_endpoint_requests_total{server_api_version="v1"} 4`, `kubelet_pod_resources_endpoint_requests_list{server_api_version="v1alpha1"} 1`,
		`kubelet_pod_resources_endpoint_requests_get{server_api_version="v1"} 2`, `kubelet_pod_resources_endpoint_errors_get{server_api_version="v1"} 1`,
	} {
		if !strings.Contains(text.String(), line+"\n") {
			t.Errorf("no %s in %s", line, text.String())
		}
	}
}

// plain is a message's text with single spaces: the package varies them.
func plain(m fmt.Stringer) string {
	return strings.Join(strings.Fields(m.String()), " ")
}

// TestLimit refuses calls above the limit, and no others.
func TestLimit(t *testing.T) {
	socket := filepath.Join(folder(t), "kubelet.sock")
	<-serve(t, podresources.Config{Socket: socket, Node: node{}}).Ready()
	client := api.NewPodResourcesListerClient(dial(t, socket))
	if list, err := client.List(t.Context(), &api.ListPodResourcesRequest{}); err != nil || len(list.PodResources) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	// Calls that come all at once: sooner or later there is one too many.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := make(chan error, 1)
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if _, err := client.List(ctx, &api.ListPodResourcesRequest{}); err != nil {
					select {
					case refused <- err:
					default:
					}
					return
				}
			}
		})
	}
	if err := <-refused; status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	cancel()
	callers.Wait()
}

// TestInUse leaves a socket alone that another program serves, and a file that is none.
func TestInUse(t *testing.T) {
	dir := folder(t)
	socket := filepath.Join(dir, "kubelet.sock")
	<-serve(t, podresources.Config{Socket: socket, Node: node{}}).Ready()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{socket: "another program serves", filepath.Join(dir, "file"): "no socket"} {
		said := make(chan string, 1)
		s := serve(t, podresources.Config{Socket: path, Node: node{}, Logger: slog.New(slog.NewTextHandler(writer(func(p []byte) {
			select {
			case said <- string(p):
			default:
			}
		}), nil))})
		if got := <-said; !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		select {
		case <-s.Ready():
			t.Error("it is served")
		default:
		}
	}
	if _, err := api.NewPodResourcesListerClient(dial(t, socket)).List(t.Context(), &api.ListPodResourcesRequest{}); err != nil {
		t.Error(err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestNonsense(t *testing.T) {
	for name, cfg := range map[string]podresources.Config{"Config.Socket": {Socket: "relative", Node: node{}}, "Config.Node": {}} {
		if _, err := podresources.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "podresources: "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkList lists a node with 110 pods.
func BenchmarkList(b *testing.B) {
	n := node{}
	for range 110 {
		n.pods = append(n.pods, podtest.New("Always", "c"))
	}
	s, err := podresources.New(podresources.Config{Node: n})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := podresources.List(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
}
