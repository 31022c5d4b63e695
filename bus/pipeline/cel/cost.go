package cel

import (
	"math"

	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// sizes estimates how large the values of an event are.
type sizes struct {
	text uint64 // characters of a text
	list uint64 // elements of a list or map
}

// maxExtensions is how many extensions an ordinary event has.
const maxExtensions = 64

var (
	ordinarySizes = sizes{text: 1024, list: 256}
	largestSizes  = sizes{text: pipeline.MaxEvent, list: pipeline.MaxEvent / 2}
)

// EstimateSize implements checker.CostEstimator.
func (s sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	switch n.Type().Kind() {
	case types.StringKind, types.BytesKind:
		return &checker.SizeEstimate{Max: s.text}
	}
	if path := n.Path(); len(path) == 2 && path[1] == "extensions" {
		return &checker.SizeEstimate{Max: maxExtensions}
	}
	return &checker.SizeEstimate{Max: s.list}
}

// EstimateCallCost implements checker.CostEstimator: the estimates of cel-go are used.
func (s sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// actualCosts are the costs of calls whose types are known only when they run, which cel-go
// counts as 1.
type actualCosts struct{}

// CallCost implements interpreter.ActualCostEstimator.
func (actualCosts) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	if overload != "" {
		return nil
	}
	var n int64
	switch function {
	case operators.Add:
		n = length(args[0]) + length(args[1])
	case operators.In:
		n = length(args[1])
	default:
		for _, a := range args {
			n += length(a)
		}
	}
	cost := uint64(math.Ceil(float64(n) * common.StringTraversalCostFactor))
	return &cost
}
