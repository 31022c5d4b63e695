package podresources_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/edged/podresources"
)

// A Server says on a socket what containers have; an edged.Agent is its Node.
func ExampleServer() {
	dir, err := os.MkdirTemp("", "pr")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	server, err := podresources.New(podresources.Config{Socket: filepath.Join(dir, "kubelet.sock"), Node: node{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-server.Ready()
	entries, err := os.ReadDir(dir)
	fmt.Println(entries[0].Name(), err)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// kubelet.sock <nil>
	// <nil>
}
