package cel_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
)

func Example() {
	x, err := cel.New(cel.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	program, err := x.Compile("event.data.value * 2 > 160", pipeline.Types{Result: pipeline.Bool})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(program.Eval(&pipeline.Vars{Event: &pipeline.Event{Data: map[string]any{"value": 80.5}}}))

	_, err = x.Compile("event.data.value > 80 && event.colour == 'red'", pipeline.Types{Result: pipeline.Bool})
	fmt.Println(err)
	// Output:
	// true <nil>
	// column 31: undefined field 'colour'
}
