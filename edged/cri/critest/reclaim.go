package critest

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

func (s *server) ReopenContainerLog(ctx context.Context, r *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	logs, ok := s.runtime.(runtime.LogReopener)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "the runtime has no logs")
	}
	return &runtimeapi.ReopenContainerLogResponse{}, failed(logs.ReopenContainerLog(ctx, r.ContainerId))
}

func (s *server) ImageFsInfo(ctx context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	store, ok := s.runtime.(runtime.ImageStore)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "the runtime does not say where images are")
	}
	images, containers, err := store.ImageFilesystems(ctx)
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: filesystems(images), ContainerFilesystems: filesystems(containers)}, failed(err)
}

func filesystems(all []runtime.Filesystem) []*runtimeapi.FilesystemUsage {
	var out []*runtimeapi.FilesystemUsage
	for _, f := range all {
		out = append(out, &runtimeapi.FilesystemUsage{
			FsId:      &runtimeapi.FilesystemIdentifier{Mountpoint: f.Mountpoint},
			UsedBytes: &runtimeapi.UInt64Value{Value: f.UsedBytes}, InodesUsed: &runtimeapi.UInt64Value{Value: f.UsedInodes},
		})
	}
	return out
}

// verbose is the configuration that containerd 1.x shows in its status, as far as an
// agent reads it.
func (s *server) verbose(ctx context.Context) (map[string]string, error) {
	store, ok := s.runtime.(runtime.ImageStore)
	if !ok {
		return nil, nil
	}
	image, err := store.SandboxImage(ctx)
	if err != nil || image == "" {
		return nil, err
	}
	text, err := json.Marshal(map[string]string{"sandboxImage": image})
	return map[string]string{"config": string(text)}, err
}
