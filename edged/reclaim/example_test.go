package reclaim_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/edged/reclaim"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// An image that a pod may need stays; the others are removed.
func ExampleImages_ReclaimAll() {
	rt := runtimetest.New()
	rt.AddImage("docker.io/library/busybox:latest")
	rt.AddImage("docker.io/library/redis:7")
	images, err := reclaim.NewImages(reclaim.ImagesConfig{
		Runtime: rt, Store: rt, MinimumAge: -1,
		InUse: func() []string { return []string{"docker.io/library/redis:7"} },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if _, err := images.ReclaimAll(ctx); err != nil {
		fmt.Println(err)
		return
	}
	left, err := rt.ListImages(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, image := range left {
		fmt.Println(image.Tags)
	}
	// Output: [docker.io/library/redis:7]
}
