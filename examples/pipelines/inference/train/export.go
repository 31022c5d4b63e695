package main

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/advancedclimatesystems/gonnx/onnx"
	"google.golang.org/protobuf/proto"
)

// graph collects the nodes and the weights of an ONNX model.
type graph struct{ onnx.GraphProto }

// node adds an operator and returns the name of its output.
func (g *graph) node(op string, inputs ...string) string {
	out := fmt.Sprintf("%s_%d", op, len(g.Node))
	g.Node = append(g.Node, &onnx.NodeProto{OpType: op, Name: out, Input: inputs, Output: []string{out}})
	return out
}

// constant adds weights and returns their name.
func (g *graph) constant(name string, values []float64, dims ...int64) string {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(v)))
	}
	g.Initializer = append(g.Initializer, &onnx.TensorProto{Name: name, Dims: dims, DataType: int32(onnx.TensorProto_FLOAT), RawData: raw})
	return name
}

// export writes the scaling, the autoencoder and its loss as one ONNX model: [1, columns] in, [1, 1] out.
// The output is the loss divided by limit, so 1 is the border of what is normal.
func (a *autoencoder) export(mean, dev []float64, limit float64) ([]byte, error) {
	columns := int64(len(mean))
	g := &graph{onnx.GraphProto{Name: "autoencoder"}}
	x := g.node("Sub", "window", g.constant("mean", mean, 1, columns))
	x = g.node("Div", x, g.constant("deviation", dev, 1, columns))
	y := x
	for i, l := range a.layers {
		weights := g.constant(fmt.Sprintf("weights_%d", i), l.w[:l.in*l.out], int64(l.in), int64(l.out))
		y = g.node("MatMul", y, weights)
		y = g.node("Add", y, g.constant(fmt.Sprintf("bias_%d", i), l.w[l.in*l.out:], 1, int64(l.out)))
		if l.tanh {
			y = g.node("Tanh", y)
		}
	}
	difference := g.node("Sub", y, x)
	squares := g.node("Mul", difference, difference)
	each := make([]float64, columns)
	for i := range each {
		each[i] = 1 / float64(columns) / limit
	}
	score := g.node("MatMul", squares, g.constant("share", each, columns, 1))
	g.Node[len(g.Node)-1].Output[0] = "score"
	_ = score
	g.Input = []*onnx.ValueInfoProto{value("window", 1, columns)}
	g.Output = []*onnx.ValueInfoProto{value("score", 1, 1)}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&onnx.ModelProto{
		IrVersion: 7, OpsetImport: []*onnx.OperatorSetIdProto{{Version: 13}}, ProducerName: "edgekit example", Graph: &g.GraphProto})
}

// value describes an input or output of 32-bit floats.
func value(name string, dims ...int64) *onnx.ValueInfoProto {
	shape := &onnx.TensorShapeProto{}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &onnx.TensorShapeProto_Dimension{Value: &onnx.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &onnx.ValueInfoProto{Name: name, Type: &onnx.TypeProto{Value: &onnx.TypeProto_TensorType{
		TensorType: &onnx.TypeProto_Tensor{ElemType: int32(onnx.TensorProto_FLOAT), Shape: shape}}}}
}
