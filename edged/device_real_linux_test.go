package edged_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	granted "k8s.io/kubelet/pkg/apis/podresources/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/deviceplugin"
	"github.com/edgekit/edgekit/edged/deviceplugin/deviceplugintest"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/podresources"
	"github.com/edgekit/edgekit/meta/memstore"
)

// cdiSpec is a CDI specification of one device, which is a variable and a device node.
const cdiSpec = `{"cdiVersion":"0.6.0","kind":"edgekit.test/widget","devices":[{"name":"one","containerEdits":{"env":["BY_CDI=yes"],"deviceNodes":[{"path":"/dev/cdi0","hostPath":"/dev/zero","permissions":"rw"}]}}]}`

// run runs something until the test ends.
func run(t *testing.T, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background()) // ends after the agent
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// withPlugin has a device plugin on a real socket beside the agent of a real runtime. The
// manager of each start of the agent is made by renew.
func withPlugin(t *testing.T, cfg deviceplugintest.Config) (r *realNode, manager func() *devices.Manager) {
	r = startReal(t)
	r.stop()
	dir, err := os.MkdirTemp("", "dp") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m, err := devices.New(devices.Config{Store: memstore.New()})
	if err != nil {
		t.Fatal(err)
	}
	r.cfg.Devices = m
	server, err := deviceplugin.New(deviceplugin.Config{Dir: dir, Devices: m, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Resource, cfg.Dir = widget, dir
	plugin, err := deviceplugintest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, server.Run)
	run(t, plugin.Run)
	r.start()
	r.wait(t, "the node has widgets", realLimit, func() bool {
		q := r.node.Status.Allocatable[widget]
		return q.Value() == int64(len(cfg.Devices))
	})
	return r, func() *devices.Manager { return m }
}

// reads is a pod that says what it has of its devices, and then waits.
func reads(name, script string) *corev1.Pod {
	p := onHost(newPod(name, busybox(script+"; echo end; "+waits)))
	p.Spec.Containers[0].Resources.Limits = podtest.Resources(widget, "1")
	p.Spec.Containers[0].Resources.Requests = p.Spec.Containers[0].Resources.Limits
	return p
}

// TestRealDevicePlugin gives a pod a device node, a variable and a mount by Allocate, on a
// real runtime, and reads from the pod-resources socket that it has them.
func TestRealDevicePlugin(t *testing.T) {
	mount := t.TempDir()
	if err := os.WriteFile(filepath.Join(mount, "note"), []byte("from the plugin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, manager := withPlugin(t, deviceplugintest.Config{Devices: []string{"a"}, PreStart: true, Answer: func(ids []string) *api.ContainerAllocateResponse {
		return &api.ContainerAllocateResponse{
			Envs: map[string]string{"WIDGET": strings.Join(ids, ",")}, Devices: []*api.DeviceSpec{{ContainerPath: "/dev/fake0", HostPath: "/dev/null", Permissions: "rw"}},
			Mounts: []*api.Mount{{ContainerPath: "/plugin", HostPath: mount, ReadOnly: true}},
		}
	}})
	p := reads("widget", `echo "widget=$WIDGET"; test -c /dev/fake0 && echo x > /dev/fake0 && stat -c "node=%t:%T" /dev/fake0; cat /plugin/note; touch /plugin/x 2>/dev/null || echo readonly`)
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	r.watch(t, "the log", func() bool { return strings.Contains(r.log(p, "main"), " end\n") })
	for _, want := range []string{"widget=a", "node=1:3", "from the plugin", "readonly"} {
		if text := r.log(p, "main"); !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in %s", want, text)
		}
	}
	late := reads("late", "true")
	r.put(late)
	r.wait(t, "rejected", realLimit, func() bool { return r.status[late.UID].Reason == "OutOf"+widget })

	socket := filepath.Join(r.cfg.Root, "pr.sock")
	served, err := podresources.New(podresources.Config{Socket: socket, Node: r.agent, Devices: manager()})
	if err != nil {
		t.Fatal(err)
	}
	run(t, served.Run)
	<-served.Ready()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	list, err := granted.NewPodResourcesListerClient(conn).List(t.Context(), &granted.ListPodResourcesRequest{})
	if err != nil || len(list.PodResources) != 1 || list.PodResources[0].Name != p.Name || list.PodResources[0].Containers[0].Devices[0].DeviceIds[0] != "a" {
		t.Errorf("%v, %v", list, err)
	}
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
	next := reads("next", "true")
	r.put(next)
	r.wait(t, "the next pod has it", realLimit, func() bool { return r.isReady(next.UID) })
}

// TestRealCDI has the runtime look a device up in a CDI specification of this machine. A
// runtime without CDI is skipped.
func TestRealCDI(t *testing.T) {
	file := fmt.Sprintf("/etc/cdi/edgekit-test-%d.json", os.Getpid())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		os.Remove(file)
		os.Remove(filepath.Dir(file)) // unless others have one
	})
	if err := os.WriteFile(file, []byte(cdiSpec), 0o600); err != nil {
		t.Skip(err)
	}
	r, _ := withPlugin(t, deviceplugintest.Config{Devices: []string{"one"}, Answer: func(ids []string) *api.ContainerAllocateResponse {
		return &api.ContainerAllocateResponse{CdiDevices: []*api.CDIDevice{{Name: "edgekit.test/widget=" + ids[0]}}}
	}})
	p := reads("cdi", `echo "cdi=$BY_CDI"; test -c /dev/cdi0 && head -c 3 /dev/cdi0 | od -An -tx1`)
	r.put(p)
	var st corev1.PodStatus
	r.wait(t, "ready, or refused", realLimit, func() bool {
		st = r.status[p.UID]
		return r.isReady(p.UID) || len(st.ContainerStatuses) > 0 && st.ContainerStatuses[0].State.Waiting != nil && st.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerError"
	})
	if w := st.ContainerStatuses[0].State.Waiting; w != nil {
		t.Skipf("the runtime has no CDI: %s", w.Message)
	}
	r.watch(t, "the log", func() bool { return strings.Contains(r.log(p, "main"), " end\n") })
	if text := r.log(p, "main"); !strings.Contains(text, "cdi=yes\n") || !strings.Contains(text, "00 00 00\n") {
		t.Errorf("%s", text)
	}
}

var _ podresources.Node = (*edged.Agent)(nil)
