package push_test

import (
	"fmt"

	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/meta/memstore"
)

func ExampleNew() {
	link, err := push.New(push.Config{
		Link:  devicetest.NewLink(),
		Store: memstore.New(), // a mapper that must lose nothing opens meta/badgerstore
		Open:  map[string]push.Opener{push.MethodHTTP: push.HTTP, push.MethodOTEL: push.OTLP},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(link.Stats().Waiting)
	// Output: 0
}
