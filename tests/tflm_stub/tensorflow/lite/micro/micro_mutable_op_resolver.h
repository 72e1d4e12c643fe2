// Stub of TensorFlow Lite Micro's interface: the operators that a program chooses.
#ifndef TFLM_STUB_MICRO_MUTABLE_OP_RESOLVER_H_
#define TFLM_STUB_MICRO_MUTABLE_OP_RESOLVER_H_

#include <string.h>

#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/micro/micro_op_resolver.h"
#include "tflm_stub.h"

TFLM_STUB_BEGIN

template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  MicroMutableOpResolver() { tflm_stub::record.room = static_cast<int>(tOpCount); }

  // The numbers are those of BuiltinOperator in the schema.
  TfLiteStatus AddAbs() { return Builtin(101); }  // ABS
  TfLiteStatus AddAdd() { return Builtin(0); }  // ADD
  TfLiteStatus AddAddN() { return Builtin(106); }  // ADD_N
  TfLiteStatus AddArgMax() { return Builtin(56); }  // ARG_MAX
  TfLiteStatus AddArgMin() { return Builtin(79); }  // ARG_MIN
  TfLiteStatus AddAssignVariable() { return Builtin(144); }  // ASSIGN_VARIABLE
  TfLiteStatus AddAveragePool2D() { return Builtin(1); }  // AVERAGE_POOL_2D
  TfLiteStatus AddBasicClassifier() { return Custom("BasicClassifier"); }
  TfLiteStatus AddBatchMatMul() { return Builtin(126); }  // BATCH_MATMUL
  TfLiteStatus AddBatchToSpaceNd() { return Builtin(37); }  // BATCH_TO_SPACE_ND
  TfLiteStatus AddBroadcastArgs() { return Builtin(145); }  // BROADCAST_ARGS
  TfLiteStatus AddBroadcastTo() { return Builtin(130); }  // BROADCAST_TO
  TfLiteStatus AddCallOnce() { return Builtin(129); }  // CALL_ONCE
  TfLiteStatus AddCast() { return Builtin(53); }  // CAST
  TfLiteStatus AddCeil() { return Builtin(104); }  // CEIL
  TfLiteStatus AddCircularBuffer() { return Custom("CIRCULAR_BUFFER"); }
  TfLiteStatus AddConcatenation() { return Builtin(2); }  // CONCATENATION
  TfLiteStatus AddConv2D() { return Builtin(3); }  // CONV_2D
  TfLiteStatus AddCos() { return Builtin(108); }  // COS
  TfLiteStatus AddCumSum() { return Builtin(128); }  // CUMSUM
  TfLiteStatus AddDecode() { return Custom("TFLM_DECODE"); }
  TfLiteStatus AddDelay() { return Custom("SignalDelay"); }
  TfLiteStatus AddDepthToSpace() { return Builtin(5); }  // DEPTH_TO_SPACE
  TfLiteStatus AddDepthwiseConv2D() { return Builtin(4); }  // DEPTHWISE_CONV_2D
  TfLiteStatus AddDequantize() { return Builtin(6); }  // DEQUANTIZE
  TfLiteStatus AddDetectionPostprocess() { return Custom("TFLite_Detection_PostProcess"); }
  TfLiteStatus AddDiv() { return Builtin(42); }  // DIV
  TfLiteStatus AddDynamicUpdateSlice() { return Builtin(151); }  // DYNAMIC_UPDATE_SLICE
  TfLiteStatus AddElu() { return Builtin(111); }  // ELU
  TfLiteStatus AddEmbeddingLookup() { return Builtin(7); }  // EMBEDDING_LOOKUP
  TfLiteStatus AddEnergy() { return Custom("SignalEnergy"); }
  TfLiteStatus AddEqual() { return Builtin(71); }  // EQUAL
  TfLiteStatus AddEthosU() { return Custom("ethos-u"); }
  TfLiteStatus AddExp() { return Builtin(47); }  // EXP
  TfLiteStatus AddExpandDims() { return Builtin(70); }  // EXPAND_DIMS
  TfLiteStatus AddFftAutoScale() { return Custom("SignalFftAutoScale"); }
  TfLiteStatus AddFill() { return Builtin(94); }  // FILL
  TfLiteStatus AddFilterBank() { return Custom("SignalFilterBank"); }
  TfLiteStatus AddFilterBankLog() { return Custom("SignalFilterBankLog"); }
  TfLiteStatus AddFilterBankSpectralSubtraction() { return Custom("SignalFilterBankSpectralSubtraction"); }
  TfLiteStatus AddFilterBankSquareRoot() { return Custom("SignalFilterBankSquareRoot"); }
  TfLiteStatus AddFloor() { return Builtin(8); }  // FLOOR
  TfLiteStatus AddFloorDiv() { return Builtin(90); }  // FLOOR_DIV
  TfLiteStatus AddFloorMod() { return Builtin(95); }  // FLOOR_MOD
  TfLiteStatus AddFramer() { return Custom("SignalFramer"); }
  TfLiteStatus AddFullyConnected() { return Builtin(9); }  // FULLY_CONNECTED
  TfLiteStatus AddGather() { return Builtin(36); }  // GATHER
  TfLiteStatus AddGatherNd() { return Builtin(107); }  // GATHER_ND
  TfLiteStatus AddGreater() { return Builtin(61); }  // GREATER
  TfLiteStatus AddGreaterEqual() { return Builtin(62); }  // GREATER_EQUAL
  TfLiteStatus AddHardSwish() { return Builtin(117); }  // HARD_SWISH
  TfLiteStatus AddIf() { return Builtin(118); }  // IF
  TfLiteStatus AddIrfft() { return Custom("SignalIrfft"); }
  TfLiteStatus AddL2Normalization() { return Builtin(11); }  // L2_NORMALIZATION
  TfLiteStatus AddL2Pool2D() { return Builtin(12); }  // L2_POOL_2D
  TfLiteStatus AddLeakyRelu() { return Builtin(98); }  // LEAKY_RELU
  TfLiteStatus AddLess() { return Builtin(58); }  // LESS
  TfLiteStatus AddLessEqual() { return Builtin(63); }  // LESS_EQUAL
  TfLiteStatus AddLog() { return Builtin(73); }  // LOG
  TfLiteStatus AddLogSoftmax() { return Builtin(50); }  // LOG_SOFTMAX
  TfLiteStatus AddLogicalAnd() { return Builtin(86); }  // LOGICAL_AND
  TfLiteStatus AddLogicalNot() { return Builtin(87); }  // LOGICAL_NOT
  TfLiteStatus AddLogicalOr() { return Builtin(84); }  // LOGICAL_OR
  TfLiteStatus AddLogistic() { return Builtin(14); }  // LOGISTIC
  TfLiteStatus AddMaxPool2D() { return Builtin(17); }  // MAX_POOL_2D
  TfLiteStatus AddMaximum() { return Builtin(55); }  // MAXIMUM
  TfLiteStatus AddMean() { return Builtin(40); }  // MEAN
  TfLiteStatus AddMinimum() { return Builtin(57); }  // MINIMUM
  TfLiteStatus AddMirrorPad() { return Builtin(100); }  // MIRROR_PAD
  TfLiteStatus AddMul() { return Builtin(18); }  // MUL
  TfLiteStatus AddNeg() { return Builtin(59); }  // NEG
  TfLiteStatus AddNotEqual() { return Builtin(72); }  // NOT_EQUAL
  TfLiteStatus AddOverlapAdd() { return Custom("SignalOverlapAdd"); }
  TfLiteStatus AddPCAN() { return Custom("SignalPCAN"); }
  TfLiteStatus AddPack() { return Builtin(83); }  // PACK
  TfLiteStatus AddPad() { return Builtin(34); }  // PAD
  TfLiteStatus AddPadV2() { return Builtin(60); }  // PADV2
  TfLiteStatus AddPrelu() { return Builtin(54); }  // PRELU
  TfLiteStatus AddQuantize() { return Builtin(114); }  // QUANTIZE
  TfLiteStatus AddReadVariable() { return Builtin(143); }  // READ_VARIABLE
  TfLiteStatus AddReduceAll() { return Builtin(140); }  // REDUCE_ALL
  TfLiteStatus AddReduceMax() { return Builtin(82); }  // REDUCE_MAX
  TfLiteStatus AddReduceMin() { return Builtin(89); }  // REDUCE_MIN
  TfLiteStatus AddRelu() { return Builtin(19); }  // RELU
  TfLiteStatus AddRelu6() { return Builtin(21); }  // RELU6
  TfLiteStatus AddReshape() { return Builtin(22); }  // RESHAPE
  TfLiteStatus AddResizeBilinear() { return Builtin(23); }  // RESIZE_BILINEAR
  TfLiteStatus AddResizeNearestNeighbor() { return Builtin(97); }  // RESIZE_NEAREST_NEIGHBOR
  TfLiteStatus AddReverseV2() { return Builtin(105); }  // REVERSE_V2
  TfLiteStatus AddRfft() { return Custom("SignalRfft"); }
  TfLiteStatus AddRound() { return Builtin(116); }  // ROUND
  TfLiteStatus AddRsqrt() { return Builtin(76); }  // RSQRT
  TfLiteStatus AddSelectV2() { return Builtin(123); }  // SELECT_V2
  TfLiteStatus AddShape() { return Builtin(77); }  // SHAPE
  TfLiteStatus AddSin() { return Builtin(66); }  // SIN
  TfLiteStatus AddSlice() { return Builtin(65); }  // SLICE
  TfLiteStatus AddSoftmax() { return Builtin(25); }  // SOFTMAX
  TfLiteStatus AddSpaceToBatchNd() { return Builtin(38); }  // SPACE_TO_BATCH_ND
  TfLiteStatus AddSpaceToDepth() { return Builtin(26); }  // SPACE_TO_DEPTH
  TfLiteStatus AddSplit() { return Builtin(49); }  // SPLIT
  TfLiteStatus AddSplitV() { return Builtin(102); }  // SPLIT_V
  TfLiteStatus AddSqrt() { return Builtin(75); }  // SQRT
  TfLiteStatus AddSquare() { return Builtin(92); }  // SQUARE
  TfLiteStatus AddSquaredDifference() { return Builtin(99); }  // SQUARED_DIFFERENCE
  TfLiteStatus AddSqueeze() { return Builtin(43); }  // SQUEEZE
  TfLiteStatus AddStacker() { return Custom("SignalStacker"); }
  TfLiteStatus AddStridedSlice() { return Builtin(45); }  // STRIDED_SLICE
  TfLiteStatus AddSub() { return Builtin(41); }  // SUB
  TfLiteStatus AddSum() { return Builtin(74); }  // SUM
  TfLiteStatus AddSvdf() { return Builtin(27); }  // SVDF
  TfLiteStatus AddTanh() { return Builtin(28); }  // TANH
  TfLiteStatus AddTranspose() { return Builtin(39); }  // TRANSPOSE
  TfLiteStatus AddTransposeConv() { return Builtin(67); }  // TRANSPOSE_CONV
  TfLiteStatus AddUnidirectionalSequenceLSTM() { return Builtin(44); }  // UNIDIRECTIONAL_SEQUENCE_LSTM
  TfLiteStatus AddUnpack() { return Builtin(88); }  // UNPACK
  TfLiteStatus AddVarHandle() { return Builtin(142); }  // VAR_HANDLE
  TfLiteStatus AddWhile() { return Builtin(119); }  // WHILE
  TfLiteStatus AddWindow() { return Custom("SignalWindow"); }
  TfLiteStatus AddZerosLike() { return Builtin(93); }  // ZEROS_LIKE

  unsigned int GetRegistrationLength() { return length_; }

  bool Has(int builtin_code, const char* custom_name) const override {
    for (unsigned int i = 0; i < length_; ++i) {
      if (codes_[i] != builtin_code) continue;
      if (builtin_code != kCustom || strcmp(names_[i], custom_name) == 0) return true;
    }
    return false;
  }

 private:
  static const int kCustom = 32;

  TfLiteStatus Builtin(int code) { return Add(code, ""); }
  TfLiteStatus Custom(const char* name) { return Add(kCustom, name); }

  TfLiteStatus Add(int code, const char* name) {
    if (length_ >= tOpCount || Has(code, name)) {
      ++tflm_stub::record.refused;
      return kTfLiteError;
    }
    codes_[length_] = code;
    names_[length_] = name;
    ++length_;
    tflm_stub::record.added = static_cast<int>(length_);
    return kTfLiteOk;
  }

  int codes_[tOpCount] = {};
  const char* names_[tOpCount] = {};
  unsigned int length_ = 0;
};

TFLM_STUB_END

#endif  // TFLM_STUB_MICRO_MUTABLE_OP_RESOLVER_H_
