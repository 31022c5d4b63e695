package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/device/v1beta1"
)

// DevicesError says that Devices are bound to a node that is to be retired.
type DevicesError struct {
	Node    string
	Devices []string // namespace/name
}

// Error names some of the devices and what to do.
func (e *DevicesError) Error() string {
	return fmt.Sprintf("nodelifecycle: %d devices are bound to node %s (%s, ...): unbind them with --devices=unbind, leave them with --devices=keep, or move them with 'edgectl node replace %s OTHER'",
		len(e.Devices), e.Node, strings.Join(e.Devices[:min(3, len(e.Devices))], ", "), e.Node)
}

// devicesOf lists the Devices that are bound to the node. A cluster without Devices has none.
func devicesOf(ctx context.Context, client dynamic.Interface, node string) ([]unstructured.Unstructured, error) {
	if client == nil {
		return nil, nil
	}
	list, err := client.Resource(v1beta1.GroupVersion().WithResource("devices")).List(ctx, metav1.ListOptions{
		FieldSelector: "spec.nodeName=" + node,
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nodelifecycle: list devices: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(d unstructured.Unstructured) bool {
		bound, _, _ := unstructured.NestedString(d.Object, "spec", "nodeName")
		return bound != node
	}), nil
}

func deviceNames(devices []unstructured.Unstructured) []string {
	var all []string
	for i := range devices {
		all = append(all, devices[i].GetNamespace()+"/"+devices[i].GetName())
	}
	slices.Sort(all)
	return all
}

// bindDevices binds the Devices of a node to another node, or to none (""), and names those
// that it has changed. A Device that was changed since is read again.
func bindDevices(ctx context.Context, client dynamic.Interface, from, to string) (moved []string, err error) {
	for range 5 {
		devices, err := devicesOf(ctx, client, from)
		if err != nil || len(devices) == 0 {
			return moved, err
		}
		for i := range devices {
			d := &devices[i]
			// The version: somebody may bind it elsewhere at the same time.
			patch, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"resourceVersion": d.GetResourceVersion()}, "spec": map[string]any{"nodeName": orNull(to)},
			})
			if err != nil {
				return moved, err
			}
			_, err = client.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace(d.GetNamespace()).
				Patch(ctx, d.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return moved, fmt.Errorf("nodelifecycle: bind device %s/%s to node %q: %w", d.GetNamespace(), d.GetName(), to, err)
			}
			moved = append(moved, d.GetNamespace()+"/"+d.GetName())
		}
	}
	return moved, errors.New("nodelifecycle: devices of node " + from + " are changed again and again: repeat the command")
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
