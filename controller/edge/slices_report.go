package edge

import (
	"context"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// maxDRADrivers bounds a report of DRA drivers: each is a term of a field selector.
const maxDRADrivers = 100

// writeResourceSlices deletes the ResourceSlices of the DRA drivers that a node does not
// have, as the node: the scheduler would go on placing pods there that wait for the driver.
// A kubelet does the same 30 seconds after a driver went (dra_plugin_manager.go of
// Kubernetes 1.37); here the node waits, and reports then.
func (c *Controller) writeResourceSlices(ctx context.Context, node string, obj hub.Object) error {
	switch {
	case obj.Key.Name != node || obj.Key.Namespace != "":
		return nodesync.Forbidden(obj.Key, "a node may only report itself")
	case obj.Deleted:
		return nodesync.Forbidden(obj.Key, "a node may not delete this")
	}
	var report resources.DRADrivers
	if err := jsonlimit.Unmarshal(obj.Body, &report); err != nil {
		return nodesync.Invalid(obj.Key, fmt.Errorf("body is not the JSON of DRADrivers: %w", err))
	}
	if len(report.Drivers) > maxDRADrivers {
		return nodesync.Invalid(obj.Key, fmt.Errorf("drivers has %d names: at most %d", len(report.Drivers), maxDRADrivers))
	}
	others := []fields.Selector{fields.OneTermEqualSelector(resourcev1.ResourceSliceSelectorNodeName, node)}
	for _, driver := range report.Drivers {
		if errs := validation.IsDNS1123Subdomain(driver); len(errs) > 0 {
			return nodesync.Invalid(obj.Key, fmt.Errorf("drivers: %q is no name of a driver: %s", driver, errs[0]))
		}
		others = append(others, fields.OneTermNotEqualSelector(resourcev1.ResourceSliceSelectorDriver, driver))
	}
	err := c.cfg.NodeClient.ResourceV1().ResourceSlices().DeleteCollection(impersonate.With(ctx, node), metav1.DeleteOptions{},
		metav1.ListOptions{FieldSelector: fields.AndSelectors(others...).String()})
	if apierrors.IsNotFound(err) {
		return nil // a cluster without resource.k8s.io/v1 has none
	}
	return nodesync.FromAPI(err)
}
