package cri

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

var _ runtime.Resizer = (*Client)(nil)

// UpdateContainerResources sets the resources of a container.
func (c *Client) UpdateContainerResources(ctx context.Context, id string, r runtime.Resources) error {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	if _, err := c.run.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: resources(r)}); err != nil {
		return failed("update container resources", err)
	}
	return nil
}

// UpdateSandboxResources tells the runtime of a change of a pod's resources. Most
// runtimes do not have the call, and need none. containerd 2.2 says so with the code
// Unknown.
func (c *Client) UpdateSandboxResources(ctx context.Context, id string, overhead, r runtime.Resources) error {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	_, err := c.run.UpdatePodSandboxResources(ctx, &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: id, Overhead: resources(overhead), Resources: resources(r)})
	if st, _ := status.FromError(err); st.Code() == codes.Unimplemented || st.Code() == codes.Unknown && strings.Contains(st.Message(), "not implemented") {
		return nil
	}
	if err != nil {
		return failed("update sandbox resources", err)
	}
	return nil
}
