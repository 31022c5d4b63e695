package cri_test

import (
	"slices"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// TestFeatures reads what the runtime and its default handler can do. An old runtime does
// not report features, and counts as having none.
func TestFeatures(t *testing.T) {
	s, c := serve(t)
	handler := func(name string, can bool) *runtimeapi.RuntimeHandler {
		return &runtimeapi.RuntimeHandler{Name: name, Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: can}}
	}
	userns := handler("runc2", false)
	userns.Features.UserNamespaces = true
	s.status = &runtimeapi.StatusResponse{RuntimeHandlers: []*runtimeapi.RuntimeHandler{handler("", true), userns, {Name: "bare"}}}
	want := []runtime.Handler{{RecursiveReadOnlyMounts: true}, {Name: "runc2", UserNamespaces: true}, {Name: "bare"}}
	if h, err := c.Health(t.Context()); err != nil || !slices.Equal(h.Handlers, want) {
		t.Errorf("handlers %+v, %v", h.Handlers, err)
	}
	for name, want := range map[string]struct {
		answer *runtimeapi.StatusResponse
		runtime.Features
	}{
		"old": {&runtimeapi.StatusResponse{}, runtime.Features{}},
		"new": {
			&runtimeapi.StatusResponse{
				Features:        &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
				RuntimeHandlers: []*runtimeapi.RuntimeHandler{handler("kata", false), handler("", true)},
			},
			runtime.Features{SupplementalGroupsPolicy: true, RecursiveReadOnlyMounts: true},
		},
		"another handler": {&runtimeapi.StatusResponse{RuntimeHandlers: []*runtimeapi.RuntimeHandler{handler("kata", true), handler("", false)}}, runtime.Features{}},
	} {
		s.status = want.answer
		want.Features.ImageVolumes = true // by the version: see TestMountsImages
		if h, err := c.Health(t.Context()); err != nil || h.Features != want.Features {
			t.Errorf("%s: %+v, %v", name, h.Features, err)
		}
	}
}
