package cel

import (
	"fmt"
	"math"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// Limits of expressions.
const (
	// MaxLength is the longest expression, in characters.
	MaxLength = 4096
	// MaxDepth is how deep an expression may be nested.
	MaxDepth = 50
	// EstimateLimit is the most that Compile may estimate for an ordinary event.
	EstimateLimit = 10_000_000
	// CostLimit is where Eval ends an expression. It is a quarter of Kubernetes' limit for one
	// rule: cel-go's counting takes a time by the square of the elements that it has seen, 5 s
	// at 1,000,000 and 0.4 s here.
	CostLimit = 250_000

	maxRange = 10_000 // of lists.range
)

// Config sets up Expressions. All zero values are usable.
type Config struct {
	// CostLimit is where Eval ends an expression; 0 means CostLimit, the constant.
	CostLimit uint64
}

// Expressions compiles expressions; it is a pipeline.Expressions. Make one with New, once for
// a program: it takes some milliseconds and 140 KiB.
type Expressions struct {
	env     *cel.Env
	guarded guarded
	limit   uint64
}

var _ pipeline.Expressions = (*Expressions)(nil)

// New allocates an Expressions.
func New(cfg Config) (*Expressions, error) {
	if cfg.CostLimit == 0 {
		cfg.CostLimit = CostLimit
	}
	env, err := cel.NewCustomEnv(
		mixedNumbers(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EagerlyValidateDeclarations(true),
		cel.OptionalTypes(),
		ext.Strings(ext.StringsVersion(5)),
		ext.Math(ext.MathVersion(2)),
		ext.Lists(ext.ListsVersion(3), ext.ListsMaxRangeSize(maxRange)),
		ext.Sets(),
		ext.Regex(),
		ext.Encoders(ext.EncodersVersion(0)), // base64 only
		ext.Bindings(),
		ext.TwoVarComprehensions(),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		cel.ParserRecursionLimit(MaxDepth),
		cel.ParserExpressionSizeLimit(MaxLength),
		eventTypes(),
		cel.Variable("event", eventType),
		cel.Variable("node", cel.StringType),
		cel.Variable("now", cel.TimestampType),
	)
	if err != nil {
		return nil, fmt.Errorf("pipeline/cel: environment: %w", err)
	}
	g, err := newGuarded(env)
	if err != nil {
		return nil, fmt.Errorf("pipeline/cel: environment: %w", err)
	}
	return &Expressions{env: env, guarded: g, limit: cfg.CostLimit}, nil
}

// Compile implements pipeline.Expressions. An error is a *CompileError.
func (x *Expressions) Compile(text string, t pipeline.Types) (pipeline.Program, error) {
	if text == "" {
		return nil, &CompileError{Line: 1, Column: 1, Reason: "the expression is empty"}
	}
	if len(text) > 4*MaxLength { // bytes; the parser counts characters
		return nil, tooLong()
	}
	ast, issues := x.env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, compileError(issues)
	}
	if err := checkResult(ast.OutputType(), t.Result); err != nil {
		return nil, err
	}
	if err := checkFields(ast, t); err != nil {
		return nil, err
	}
	tracking, err := x.checkCost(ast)
	if err != nil {
		return nil, err
	}
	return x.plan(ast, t.Result, tracking)
}

// plan makes the program that counts its cost, the one that does not, or both.
func (x *Expressions) plan(a *cel.Ast, want pipeline.Type, t tracking) (*program, error) {
	p := &program{ast: a.NativeRep(), want: want}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(x.guarded.decorate)}
	var err error
	if t != mustTrack {
		if p.plain, err = x.env.Program(a, opts...); err != nil {
			return nil, &CompileError{Line: 1, Column: 1, Reason: shorten(err.Error())}
		}
	}
	if t != never {
		if p.counted, err = x.env.Program(a, append(opts, cel.CostTracking(actualCosts{}), cel.CostLimit(x.limit))...); err != nil {
			return nil, &CompileError{Line: 1, Column: 1, Reason: shorten(err.Error())}
		}
	}
	return p, nil
}

// checkCost refuses an expression that is too dear for an ordinary event, and says when its
// cost must be counted.
func (x *Expressions) checkCost(a *cel.Ast) (tracking, error) {
	ordinary, err := x.env.EstimateCost(a, ordinarySizes)
	if err != nil {
		return mustTrack, &CompileError{Line: 1, Column: 1, Reason: "its cost cannot be estimated: " + shorten(err.Error())}
	}
	if ordinary.Max > EstimateLimit {
		return mustTrack, &CompileError{Line: 1, Column: 1, Reason: fmt.Sprintf(
			"it may cost %s, %d are allowed: nest fewer all, exists, filter and map, or put it into several steps", costText(ordinary.Max), EstimateLimit)}
	}
	largest, err := x.env.EstimateCost(a, largestSizes)
	if err != nil {
		return mustTrack, &CompileError{Line: 1, Column: 1, Reason: "its cost cannot be estimated: " + shorten(err.Error())}
	}
	t := trackingOf(a.NativeRep())
	if t == never && largest.Max > x.limit {
		t = ifLarge
	}
	if t == ifLarge && ordinary.Max > x.limit {
		t = mustTrack
	}
	return t, nil
}

func costText(n uint64) string {
	if n == math.MaxUint64 {
		return "without a limit"
	}
	return fmt.Sprint(n)
}
