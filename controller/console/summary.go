package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/meta/resources"
)

// jobCounts are the jobs in a summary.
type jobCounts struct {
	Active int `json:"active"`
}

// fullSummary is the fleet at a glance. A part that the user may not see is not there.
type fullSummary struct {
	fleetSummary
	Jobs    *jobCounts    `json:"jobs,omitempty"`
	Devices *deviceCounts `json:"devices,omitempty"`
}

// sight is what of a summary, and of a list of nodes, a user may see.
type sight struct {
	nodes   bool
	pods    bool            // how many each node has
	devices *scope          // nil for none
	kinds   map[string]bool // of jobs
}

// sightOf finds out what a user may see; it is an error if that is nothing.
func (s *Server) sightOf(ctx context.Context, w who) (see sight, err error) {
	if see.nodes, err = s.may(ctx, w, nodesRight("list", "")); err != nil {
		return see, err
	}
	if see.pods, err = s.may(ctx, w, podsRight()); err != nil {
		return see, err
	}
	in, err := s.scopeOf(ctx, w, devicesRight("list", resources.Devices, "", ""), "", s.devices.namespaces)
	refused := (*apiError)(nil)
	switch {
	case err == nil:
		see.devices = &in
	case !errors.As(err, &refused) || refused.Code != http.StatusForbidden:
		return see, err
	}
	if see.kinds, err = s.kinds(ctx, w, "list", ""); err != nil {
		return see, err
	}
	if !see.nodes && see.devices == nil && len(see.kinds) == 0 {
		return see, fail(http.StatusForbidden, "user %q may list neither nodes nor devices nor jobs", w.user.Username)
	}
	return see, nil
}

func (s *Server) summary(q *request) (any, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	see, err := s.sightOf(q.Context(), q.who)
	if err != nil {
		return nil, err
	}
	return s.summaryJSON(see)
}

// summaryJSON makes the summary of what a user may see.
func (s *Server) summaryJSON(see sight) (json.RawMessage, error) {
	var out fullSummary
	if see.nodes {
		out.fleetSummary = s.fleet.summary()
	}
	if see.devices != nil {
		out.Devices = s.devices.summary(*see.devices)
	}
	if len(see.kinds) > 0 {
		out.Jobs = &jobCounts{s.jobs.active(see.kinds)}
	}
	return json.Marshal(out)
}

// abilities say what a user may do in the whole cluster; in one namespace it may be more.
type abilities struct {
	ListNodes   bool `json:"listNodes"`
	ListPods    bool `json:"listPods"`
	ListDevices bool `json:"listDevices"`
	ListJobs    bool `json:"listJobs"`
	ListEvents  bool `json:"listEvents"`
	ReadLogs    bool `json:"readLogs"`
	ChangeJobs  bool `json:"changeJobs"`
}

// me says who the user is and what the page should offer.
func (s *Server) me(q *request) (any, error) {
	var out struct {
		User   string    `json:"user"`
		Groups []string  `json:"groups"`
		Can    abilities `json:"can"`
	}
	out.User, out.Groups = q.user.Username, q.user.Groups[:min(len(q.user.Groups), maxNamespaces)]
	if out.Groups == nil {
		out.Groups = []string{}
	}
	events := authorizationv1.ResourceAttributes{Verb: "list", Version: "v1", Resource: "events"}
	for can, right := range map[*bool]authorizationv1.ResourceAttributes{
		&out.Can.ListNodes: nodesRight("list", ""), &out.Can.ListPods: podsRight(), &out.Can.ReadLogs: logRight("", ""), &out.Can.ListEvents: events,
		&out.Can.ListDevices: devicesRight("list", resources.Devices, "", ""),
		&out.Can.ListJobs:    jobsRight("list", v1alpha2.NodeUpgradeJobs, ""),
		&out.Can.ChangeJobs:  jobsRight("patch", v1alpha2.NodeUpgradeJobs, ""),
	} {
		ok, err := s.may(q.Context(), q.who, right)
		if err != nil {
			return nil, err
		}
		*can = ok
	}
	return out, nil
}
