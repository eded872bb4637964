// Native methods of Trainer, and how Engine makes one.
#include "jni_support.h"

using pocketlora_jni::Batches;
using pocketlora_jni::Bytes;
using pocketlora_jni::from_java;
using pocketlora_jni::new_bytes;
using pocketlora_jni::new_object;
using pocketlora_jni::Options;
using pocketlora_jni::sized;
using pocketlora_jni::succeeded;
using pocketlora_jni::to_java;

namespace {

jboolean to_java_bool(int32_t value) { return value == 0 ? JNI_FALSE : JNI_TRUE; }

/// The texts that it points to stay as long as `read`.
pl_trainer_options trainer_options(Options* read) {
  pl_trainer_options options;
  pl_trainer_options_init(&options);
  int32_t optimizer = options.optimizer, activations = options.activations, schedule = options.schedule;
  int32_t loss = options.loss, compute = options.compute, recompute = options.recompute;
  int64_t seed = static_cast<int64_t>(options.seed);
  read->number("rank", &options.rank);
  read->number("alpha", &options.alpha);
  options.target_modules = read->text("targetModules");
  read->number("optimizer", &optimizer);
  read->number("learningRate", &options.learning_rate);
  read->number("beta1", &options.beta1);
  read->number("beta2", &options.beta2);
  read->number("epsilon", &options.epsilon);
  read->number("weightDecay", &options.weight_decay);
  read->number("momentum", &options.momentum);
  read->number("dropout", &options.dropout);
  read->number("seed", &seed);
  read->number("activations", &activations);
  read->number("maxRows", &options.max_rows);
  options.scratch_dir = read->text("scratchDir");
  read->number("activationLimit", &options.activation_limit);
  read->number("schedule", &schedule);
  read->number("warmupSteps", &options.warmup_steps);
  read->number("totalSteps", &options.total_steps);
  read->number("maxGradNorm", &options.max_grad_norm);
  read->number("maxSkippedSteps", &options.max_skipped_steps);
  read->number("keepBest", &options.keep_best);
  read->number("patience", &options.patience);
  read->number("minDelta", &options.min_delta);
  read->number("loss", &loss);
  read->number("beta", &options.beta);
  read->number("labelSmoothing", &options.label_smoothing);
  read->number("compute", &compute);
  read->number("recompute", &recompute);
  options.optimizer = static_cast<pl_optimizer>(optimizer);
  options.activations = static_cast<pl_activations>(activations);
  options.schedule = static_cast<pl_schedule>(schedule);
  options.loss = static_cast<pl_loss>(loss);
  options.compute = static_cast<pl_compute>(compute);
  options.recompute = static_cast<pl_recompute>(recompute);
  options.seed = static_cast<uint64_t>(seed);
  return options;
}

jobject checkpoint_object(JNIEnv* env, const pl_checkpoint& c) {
  jbyteArray const path = new_bytes(env, c.path);
  jbyteArray const state = path == nullptr ? nullptr : new_bytes(env, c.user_state);
  jbyteArray const skipped = state == nullptr ? nullptr : new_bytes(env, c.skipped);
  return new_object(env, "org/pocketlora/Checkpoint", "(J[B[BJ[BJDZJ)V", c.step, path, state, c.num_skipped, skipped,
                    c.nbytes, c.seconds, to_java_bool(c.should_stop), c.best_step);
}

jlong new_adapter(JNIEnv* env, jlong trainer, pl_status (*get)(const pl_trainer*, pl_adapter**)) {
  pl_adapter* adapter = nullptr;
  return succeeded(env, get(from_java<pl_trainer>(trainer), &adapter)) ? to_java(adapter) : 0;
}

}  // namespace

PL_JNI(jlong, Engine, nativeCreateTrainer)(JNIEnv* env, jclass, jlong engine, jobject given, jlong initial) {
  Options read(env, given);
  const pl_trainer_options options = trainer_options(&read);
  if (!succeeded(env, PL_OK)) return 0;
  pl_trainer* trainer = nullptr;
  const pl_status status =
      pl_trainer_create(from_java<pl_engine>(engine), &options, from_java<pl_adapter>(initial), &trainer);
  return succeeded(env, status) ? to_java(trainer) : 0;
}

PL_JNI(void, Trainer, nativeFree)(JNIEnv*, jclass, jlong trainer) { pl_trainer_free(from_java<pl_trainer>(trainer)); }

PL_JNI(jobject, Trainer, nativeStep)(JNIEnv* env, jclass, jlong trainer, jobjectArray given) {
  const Batches batches(env, given);
  pl_step_report r = sized<pl_step_report>();
  if (!succeeded(env, pl_trainer_step(from_java<pl_trainer>(trainer), batches.data(), batches.size(), &r))) {
    return nullptr;
  }
  return new_object(env, "org/pocketlora/StepReport", "(JDJJDDJDZJJDDDD)V", r.step, r.loss, r.num_tokens, r.num_labels,
                    r.grad_norm, r.seconds, r.passes, r.learning_rate, to_java_bool(r.skipped), r.skipped_steps,
                    r.num_pairs, r.chosen_reward, r.rejected_reward, r.reward_margin, r.reward_accuracy);
}

PL_JNI(void, Trainer, nativeSetLearningRate)(JNIEnv* env, jclass, jlong trainer, jfloat learning_rate) {
  succeeded(env, pl_trainer_set_learning_rate(from_java<pl_trainer>(trainer), learning_rate));
}

PL_JNI(jobject, Trainer, nativeValidate)(JNIEnv* env, jclass, jlong trainer, jobjectArray given) {
  const Batches batches(env, given);
  pl_validation v = sized<pl_validation>();
  if (!succeeded(env, pl_trainer_validate(from_java<pl_trainer>(trainer), batches.data(), batches.size(), &v))) {
    return nullptr;
  }
  return new_object(env, "org/pocketlora/Validation", "(JDDJZZJDDJDDDD)V", v.step, v.loss, v.perplexity, v.num_labels,
                    to_java_bool(v.improved), to_java_bool(v.should_stop), v.best_step, v.best_loss, v.seconds,
                    v.num_pairs, v.chosen_reward, v.rejected_reward, v.reward_margin, v.reward_accuracy);
}

PL_JNI(jlong, Trainer, nativeAdapter)(JNIEnv* env, jclass, jlong trainer) {
  return new_adapter(env, trainer, pl_trainer_get_adapter);
}

PL_JNI(jlong, Trainer, nativeBestAdapter)(JNIEnv* env, jclass, jlong trainer) {
  return new_adapter(env, trainer, pl_trainer_get_best_adapter);
}

PL_JNI(jobject, Trainer, nativeSaveCheckpoint)
(JNIEnv* env, jclass, jlong trainer, jbyteArray folder, jint keep, jbyteArray user_state) {
  const Bytes state(env, user_state);
  pl_checkpoint_options options;
  pl_checkpoint_options_init(&options);
  options.keep = keep;
  options.user_state = state.text();
  pl_checkpoint checkpoint = sized<pl_checkpoint>();
  const pl_status status =
      pl_trainer_save_checkpoint(from_java<pl_trainer>(trainer), Bytes(env, folder).text(), &options, &checkpoint);
  return succeeded(env, status) ? checkpoint_object(env, checkpoint) : nullptr;
}

PL_JNI(jobject, Trainer, nativeLoadCheckpoint)(JNIEnv* env, jclass, jlong trainer, jbyteArray folder) {
  pl_checkpoint checkpoint = sized<pl_checkpoint>();
  const pl_status status =
      pl_trainer_load_checkpoint(from_java<pl_trainer>(trainer), Bytes(env, folder).text(), &checkpoint);
  return succeeded(env, status) ? checkpoint_object(env, checkpoint) : nullptr;
}

PL_JNI(jobject, Trainer, nativeProgress)(JNIEnv* env, jclass, jlong trainer) {
  pl_progress p = sized<pl_progress>();
  if (!succeeded(env, pl_trainer_get_progress(from_java<pl_trainer>(trainer), &p))) return nullptr;
  return new_object(env, "org/pocketlora/TrainingProgress", "(JJJJZDDDJJDDDDDD)V", p.step, p.total_steps, p.blocks_done,
                    p.blocks, to_java_bool(p.paused), p.loss, p.grad_norm, p.learning_rate, p.tokens, p.skipped_steps,
                    p.tokens_per_second, p.seconds_left, p.chosen_reward, p.rejected_reward, p.reward_margin,
                    p.reward_accuracy);
}

PL_JNI(void, Trainer, nativeCancel)(JNIEnv* env, jclass, jlong trainer) {
  succeeded(env, pl_trainer_cancel(from_java<pl_trainer>(trainer)));
}

PL_JNI(void, Trainer, nativePause)(JNIEnv* env, jclass, jlong trainer) {
  succeeded(env, pl_trainer_pause(from_java<pl_trainer>(trainer)));
}

PL_JNI(void, Trainer, nativeResume)(JNIEnv* env, jclass, jlong trainer) {
  succeeded(env, pl_trainer_resume(from_java<pl_trainer>(trainer)));
}
