package cloudevents_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
)

func ExampleAppendJSON() {
	b, err := cloudevents.AppendJSON(nil, &pipeline.Event{ID: "1", Source: "/plant", Type: "temp", Data: map[string]any{"value": 80.5}})
	fmt.Println(string(b), err)
	// Output: {"specversion":"1.0","id":"1","source":"/plant","type":"temp","data":{"value":80.5}} <nil>
}
