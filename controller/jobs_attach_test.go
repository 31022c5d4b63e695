package controller_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// TestJobsOfSession: with Config.Jobs a session has jobs down and takes reports of them;
// without it both are no resources of the session.
func TestJobsOfSession(t *testing.T) {
	for name, cfg := range map[string]*jobs.Config{"on": {}, "off": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kube := controllertest.NewClientset()
				c, err := controller.New(controller.Config{Cloud: kube, NodeClient: kube, Dynamic: noDevices(), ID: "x", Jobs: cfg})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- c.Run(ctx, nil) }()
				<-c.Ready()
				node, err := c.Attach(ctx, hub.Hello{Node: "edge-7"})
				if err != nil {
					t.Fatal(err)
				}
				obj, err := node.Down.Load(ctx, hub.Key{Resource: resources.NodeJobs, Name: "nodeupgradejob.none"}, "")
				if served := err == nil && obj.Deleted; served != (cfg != nil) {
					t.Errorf("a job that does not exist: %+v, %v", obj, err)
				}
				err = node.Up.Apply(ctx, []hub.Object{{Key: hub.Key{Resource: resources.NodeJobReports, Name: "x"}, Version: "1", Body: []byte("{}")}})
				want := hub.CodeUnsupported
				if cfg != nil {
					want = hub.CodeInvalid
				}
				if e, ok := errors.AsType[*hub.Error](err); !ok || e.Code != want {
					t.Errorf("a report that cannot be read: %v", err)
				}
				synctest.Wait()
				if leading := c.JobsStats().Leading; leading != (cfg != nil) {
					t.Errorf("leading: %v", leading)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestJobsConfigNodes(t *testing.T) {
	kube := controllertest.NewClientset()
	cfg := &jobs.Config{Cloud: kube}
	if _, err := controller.New(controller.Config{Cloud: kube, NodeClient: kube, Dynamic: noDevices(), ID: "x", Jobs: cfg}); err != nil || cfg.Nodes != nil || cfg.ID != "" {
		t.Errorf("%v; the caller's configuration is now %+v", err, cfg)
	}
}
