package child_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline/child"
)

// A Child says what is wrong with its program.
func Example() {
	c, err := child.New(child.Config{Program: "/usr/bin/edgepipe", Args: []string{"run"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.State().Reason)
	// Output: Stopped
}
