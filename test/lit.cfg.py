# lit: every .onnxtxt and .test file under test/ that has RUN lines.
import os

import lit.formats

config.name = 'onnx-opt'
config.test_format = lit.formats.ShTest(True)
config.suffixes = ['.onnxtxt', '.test']
config.excludes = ['unit', 'oracle', 'models', 'Inputs']
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = lit_config.params['out']
bin_dir = lit_config.params['bin']
for tool in ('onnx-opt', 'onnx-run', 'onnx-fuzz', 'onnx-reduce'):
    config.substitutions.append((r'\b' + tool + r'\b', os.path.join(bin_dir, tool)))
llvm = '/usr/lib/llvm-19/bin/'
config.substitutions.append((r'\bFileCheck\b', llvm + 'FileCheck'))
config.substitutions.append((r'\bnot\b', llvm + 'not'))
config.substitutions.append(('%models', os.path.join(config.test_source_root, '../examples/models')))
config.substitutions.append(('%shared', lit_config.params['shared']))
if os.path.isdir(lit_config.params['shared']):
    config.available_features.add('shared')
elif os.environ.get('CI') == 'true':
    lit_config.fatal('../shared is absent, and CI must not skip what reads it')
