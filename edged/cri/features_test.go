package cri_test

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged"
)

// TestFeatures reads what the runtime and its default handler can do. An old
// runtime says nothing of it, and can do nothing.
func TestFeatures(t *testing.T) {
	s, c := serve(t)
	handler := func(name string, can bool) *runtimeapi.RuntimeHandler {
		return &runtimeapi.RuntimeHandler{Name: name, Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: can}}
	}
	for name, want := range map[string]struct {
		answer *runtimeapi.StatusResponse
		edged.RuntimeFeatures
	}{
		"old": {&runtimeapi.StatusResponse{}, edged.RuntimeFeatures{}},
		"new": {
			&runtimeapi.StatusResponse{
				Features:        &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
				RuntimeHandlers: []*runtimeapi.RuntimeHandler{handler("kata", false), handler("", true)},
			},
			edged.RuntimeFeatures{SupplementalGroupsPolicy: true, RecursiveReadOnlyMounts: true},
		},
		"another handler": {&runtimeapi.StatusResponse{RuntimeHandlers: []*runtimeapi.RuntimeHandler{handler("kata", true), handler("", false)}}, edged.RuntimeFeatures{}},
	} {
		s.status = want.answer
		if h, err := c.Health(t.Context()); err != nil || h.Features != want.RuntimeFeatures {
			t.Errorf("%s: %+v, %v", name, h.Features, err)
		}
	}
}
