package artifact_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/edged/upgrade/artifact"
)

// Without anything in the trust folder all artefacts are refused.
func Example() {
	trust, err := os.MkdirTemp("", "trust-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(trust)
	c, err := artifact.New(artifact.Config{Trust: trust})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Fetch(context.Background(), upgrade.Request{Source: "oci://registry.example.com/edgekit/node:v1.2.3"}, upgrade.Destination{})
	_, refused := errors.AsType[*artifact.RefusedError](err)
	fmt.Println(refused)
	// Output: true
}
