package runtimetest_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func ExampleNew() {
	rt, ctx := runtimetest.New(), context.Background()
	id, _ := rt.RunSandbox(ctx, &runtime.SandboxConfig{Name: "web", UID: "u"})
	box, _ := rt.SandboxStatus(ctx, id)
	fmt.Println(box.Name, box.Ready, rt.Calls())
	// Output: web true [RunSandbox web]
}
