// A policy on a robot, from policy.json and policy.onnx alone. Per joint: in the robot's own order, `joints`.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>
using Values = std::vector<float>;

struct Policy {
  nlohmann::json facts;
  Ort::Env env; Ort::Session session;
  std::vector<size_t> order;  // of the robot's joints, for each of the policy's
  Values action, memory;
  Policy(const std::string& folder, const std::vector<std::string>& joints)
      : facts(nlohmann::json::parse(std::ifstream(folder + "/policy.json"))),
        session(env, (folder + "/policy.onnx").c_str(), Ort::SessionOptions()) {
    for (const std::string name : facts["joint_names"]) {
      order.push_back(std::find(joints.begin(), joints.end(), name) - joints.begin());
      if (order.back() == joints.size()) throw std::runtime_error("no joint " + name);
    }
    start();
  }
  void start() {  // before the first step: no previous action, and an empty memory if the policy has one
    action.assign(order.size(), 0);
    bool remembers = session.GetInputCount() > 1;
    memory.assign(remembers ? session.GetInputTypeInfo(1).GetTensorTypeAndShapeInfo().GetShape()[1] : 0, 0);
  }
  void act(Values obs) {  // scaled observation -> action, in the policy's order
    const char *inputs[] = {"obs", "hidden"}, *outputs[] = {"actions", "next_hidden"};
    auto info = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
    std::vector<Ort::Value> feeds;
    for (Values* values : {&obs, &memory}) {
      int64_t shape[] = {1, int64_t(values->size())};
      feeds.push_back(Ort::Value::CreateTensor<float>(info, values->data(), values->size(), shape, 2));
    }
    size_t count = memory.empty() ? 1 : 2;
    auto out = session.Run(Ort::RunOptions(), inputs, feeds.data(), count, outputs, count);
    std::copy_n(out[0].GetTensorData<float>(), action.size(), action.begin());
    if (count > 1) std::copy_n(out[1].GetTensorData<float>(), memory.size(), memory.begin());
  }
  Values targets(const Values& quat, const Values& gyro, const Values& velocity, const Values& command,
                 const Values& joint_pos, const Values& joint_vel) {  // rad; policy_rate times a second
    float w = quat[0], x = quat[1], y = quat[2], z = quat[3];
    Values gravity{2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1};
    Values angles, speeds, obs, result(order.size()), zero = facts["default_joint_pos"];
    for (size_t i = 0; i < order.size(); i++) angles.push_back(joint_pos[order[i]] - zero[i]);
    for (size_t i : order) speeds.push_back(joint_vel[i]);
    std::map<std::string, Values> values{
        {"base_lin_vel", velocity}, {"base_ang_vel", gyro}, {"projected_gravity", gravity}, {"command", command},
        {"joint_pos", angles},      {"joint_vel", speeds},  {"previous_action", action}};
    for (auto& term : facts["observations"])
      for (int i = 0; i < term["columns"]; i++)
        obs.push_back(values.at(term["function"]).at(i) * float(term["scale"][i]));
    act(obs);
    for (size_t i = 0; i < order.size(); i++)
      result.at(order[i]) = zero[i] + float(facts["action_scale"]) * action[i];
    return result;
  }
  Values torques(const Values& targets, const Values& joint_pos, const Values& joint_vel) const {  // N m
    Values result(order.size());
    for (size_t i = 0; i < order.size(); i++) {
      size_t j = order[i];
      float kp = facts["stiffness"][i], kd = facts["damping"][i], limit = facts["effort_limit"][i];
      result.at(j) = std::clamp(kp * (targets[j] - joint_pos[j]) - kd * joint_vel[j], -limit, limit);
    }
    return result;
  }
};

int main(int count, char** words) {  // deploy FOLDER JOINT...: is the golden action reproduced?
  if (count < 3) return std::cerr << "usage: deploy FOLDER JOINT...\n", 2;
  Policy policy(words[1], {words + 2, words + count});
  auto& golden = policy.facts["golden"];
  policy.act(golden["observation"]);
  float worst = 0;
  for (size_t i = 0; i < golden["action"].size(); i++)
    worst = std::max(worst, std::abs(policy.action[i] - float(golden["action"][i])));
  std::cout << "golden action missed by " << worst << "\n";
}
