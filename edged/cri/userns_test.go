package cri_test

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// TestHandlerAndUserNamespace: what a sandbox and a container get comes over CRI as a
// kubelet sends it, and the handler comes back.
func TestHandlerAndUserNamespace(t *testing.T) {
	rt := runtimetest.New()
	rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkReady: true, Handlers: []runtime.Handler{{Name: "runc2", UserNamespaces: true}}})
	c, err := cri.New(cri.Config{Socket: critest.Serve(t, rt)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, ids := t.Context(), &runtime.UserNamespace{First: 131072, Length: 65536}
	cfg := &runtime.SandboxConfig{
		Name: "p", UID: "u", Handler: "runc2", Labels: map[string]string{runtime.LabelPodUID: "u"}, Overhead: &runtime.Resources{Memory: 1 << 20},
		Security: runtime.Security{Namespaces: runtime.Namespaces{User: ids}},
	}
	id, err := c.RunSandbox(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	got := rt.SandboxConfigs()
	if len(got) != 1 || got[0].Handler != "runc2" || got[0].Security.Namespaces.User == nil || *got[0].Security.Namespaces.User != *ids || got[0].Overhead == nil || got[0].Overhead.Memory != 1<<20 {
		t.Errorf("the runtime has %+v", got)
	}
	if s, err := c.SandboxStatus(ctx, id); err != nil || s.Handler != "runc2" {
		t.Errorf("status %+v, %v", s, err)
	}
	if all, err := c.ListSandboxes(ctx, "u"); err != nil || len(all) != 1 || all[0].Handler != "runc2" {
		t.Errorf("list %+v, %v", all, err)
	}
	if h, err := c.Health(ctx); err != nil || len(h.Handlers) != 1 || !h.Handlers[0].UserNamespaces {
		t.Errorf("handlers %+v, %v", h.Handlers, err)
	}
	cfg.Handler = "kata"
	if _, err := c.RunSandbox(ctx, cfg); err == nil {
		t.Error("a handler that is not there")
	}
}

// TestMountsOfAUserNamespace: every mount of a container in a user namespace is mapped as
// the namespace is, and none of another container.
func TestMountsOfAUserNamespace(t *testing.T) {
	s, c := serve(t)
	for _, ids := range []*runtime.UserNamespace{nil, {First: 131072, Length: 65536}} {
		_, err := c.CreateContainer(t.Context(), "s", &runtime.ContainerConfig{
			Name: "c", Mounts: []runtime.Mount{{ContainerPath: "/a", HostPath: "/a"}, {ContainerPath: "/b", HostPath: "/b"}},
			Security: runtime.Security{Namespaces: runtime.Namespaces{User: ids}},
		}, &runtime.SandboxConfig{})
		if err != nil {
			t.Fatal(err)
		}
		got := s.config
		is := func(list []*runtimeapi.IDMapping) bool {
			if ids == nil {
				return len(list) == 0
			}
			return len(list) == 1 && list[0].GetHostId() == 131072 && list[0].GetContainerId() == 0 && list[0].GetLength() == 65536
		}
		for _, m := range got.GetMounts() {
			if !is(m.GetUidMappings()) || !is(m.GetGidMappings()) {
				t.Errorf("%+v: mount %+v", ids, m)
			}
		}
		o := got.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
		if len(got.GetMounts()) != 2 || !is(o.GetUids()) || !is(o.GetGids()) || ids != nil && o.GetMode() != runtimeapi.NamespaceMode_POD {
			t.Errorf("%+v: namespace %+v", ids, o)
		}
	}
}
